"""Published speeds of machines of other styles: what is fitted, what is predicted, what is not."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.validate.compare import compare
from maquette.validate.points import SHIPPED, points, predicted
from maquette.validate.shelf import shelf

POINTS = points()
HELD = [p for p in POINTS if np.isfinite(p.band)]


@pytest.mark.parametrize("point", HELD, ids=lambda p: f"{p.system} {p.model} b{p.batch} {p.use}")
def test_a_published_point_is_within_its_band(point):
    assert abs(predicted(point) / point.value - 1) <= point.band


def test_fitted_points_are_told_from_predicted_ones():
    uses = {p.use for p in POINTS}
    assert uses == {"fitted", "predicted", "not modelled"}
    told = {p.value for p in HELD if p.use == "predicted"}
    assert {1042, 1837, 445, 840} <= told  # nothing that ships was fitted to these


def test_rows_of_one_machine_are_within_ten_percent_at_the_median():
    rows = [p for p in HELD if p.system == "sn40lx8"]
    assert np.median([abs(predicted(p) / p.value - 1) for p in rows]) < 0.10


def test_speculative_decoding_is_not_what_is_priced():
    """Large models there decode several tokens a step, which plain decoding must not explain."""
    for point in (p for p in POINTS if p.use == "not modelled"):
        assert predicted(point) < 0.5 * point.value
        assert "speculatively" in point.evidence


def test_a_quantity_nobody_knows_is_refused(tmp_path):
    text = SHIPPED.read_text().replace("ttft_s", "smell")
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(InputError, match="smell"):
        points(tmp_path / "points.csv")


def test_measured_rows_of_other_styles_are_priced(tmp_path):
    """Rows as LLM-Inference-Bench has them; an engine that does not run there is not priced."""
    (tmp_path / "rows.csv").write_text(
        "hardware,devices,engine,model,precision,batch,input_tokens,output_tokens,"
        "output_tokens_per_s\n"
        "SN40L,8,SambaFlow,Meta-Llama-3-8B,bf16,1,1024,1024,646\n"
        "SN40L,8,,Meta-Llama-3-70B,bf16,1,1024,1024,86\n"
        "SN40L,8,vLLM,Meta-Llama-3-70B,bf16,1,1024,1024,86\n"
    )
    lines, why = compare(tmp_path, shelf())
    assert [x.engine for x in lines] == ["vendor", "vendor"]
    assert all(abs(x.error) < 0.10 for x in lines)
    assert why == {"vllm does not run on sn40l": 1}
