"""The optimizers' formulas are the same compiled for a CPU and as tensor operations."""

import pytest
import torch

from objectives.model.optimizers import RULES, update, update_cpu
from objectives.parameters import OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_both_forms_of_a_step_agree(name: str) -> None:
    """Ten steps of one pass over memory equal ten steps of tensor operations, and slots that are not live stay."""
    torch.manual_seed(0)
    rule, slots, parameters, first = RULES[name], 3, 50, 20
    start = torch.randn(slots, parameters, dtype=torch.float64)
    compiled, plain = ([start.clone(), torch.zeros_like(start), torch.full_like(start, rule.v)] for _ in range(2))
    formula = torch.full((slots,), rule.formula)
    lr = torch.rand(slots, 2, dtype=torch.float64)
    live = torch.tensor([[True], [False], [True]])
    schedule = rule.schedule()
    for _ in range(10):
        g = torch.randn(slots, parameters, dtype=torch.float64)
        coefficients = torch.tensor([next(schedule)] * slots, dtype=torch.float64)
        p, m, v = compiled
        update_cpu(*(part.numpy() for part in (p, g, m, v, formula, lr, coefficients)), first)
        p, m, v = plain
        for part, at in enumerate((slice(first), slice(first, None))):
            ps, gs, ms, vs = (each[:, at] for each in (p, g, m, v))
            update(ps, gs, ms, vs, formula.unsqueeze(1), lr[:, part : part + 1], coefficients, live)
    for mine, theirs in zip(compiled, plain, strict=True):
        assert torch.allclose(mine[[0, 2]], theirs[[0, 2]], rtol=1e-12, atol=1e-15)
    assert torch.equal(plain[0][1], start[1]) and not torch.equal(plain[0][0], start[0])
