"""Laws of the optimiser of stacked heads."""

from __future__ import annotations

import torch

from heads.mlp.optim import AdamW

RATES = [(1e-2, 0.1), (3e-3, 0.0), (1e-2, 0.1)]
SHAPES = {"w": (3, 5, 7), "b": (3, 5)}


def draw(generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def build(weights: dict[str, torch.Tensor]) -> AdamW:
    lr, weight_decay = zip(*RATES, strict=True)
    return AdamW(weights, lr=lr, weight_decay=weight_decay)


def test_each_head_is_updated_as_torchs_adamw_updates_it_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = draw(generator)
    alone = [{name: value[k].clone().requires_grad_() for name, value in ours.items()} for k in range(3)]
    theirs = [
        torch.optim.AdamW(list(weights.values()), lr=lr, weight_decay=decay, foreach=False)
        for weights, (lr, decay) in zip(alone, RATES, strict=True)
    ]
    optimizer = build(ours)
    for _ in range(20):
        gradients = draw(generator)
        optimizer.begin_step()
        for name, gradient in gradients.items():
            optimizer.update(name, gradient)
        for k, (weights, one) in enumerate(zip(alone, theirs, strict=True)):
            for name, value in weights.items():
                value.grad = gradients[name][k].clone()
            one.step()
    for k, weights in enumerate(alone):
        for name, value in weights.items():
            torch.testing.assert_close(ours[name][k], value.detach(), rtol=0, atol=1e-6)


def test_the_layout_of_a_gradient_in_memory_does_not_matter() -> None:
    results = []
    for flip in (False, True):
        generator = torch.Generator().manual_seed(1)
        weights, gradient = draw(generator), draw(generator)["w"]
        optimizer = build(weights)
        optimizer.begin_step()
        optimizer.update("w", gradient.mT.contiguous().mT if flip else gradient)
        results.append(weights["w"])
    assert torch.equal(*results)


def test_heads_that_are_kept_go_on_as_if_the_others_were_there() -> None:
    results = []
    for n_before in (2, 4):
        generator = torch.Generator().manual_seed(2)
        weights = draw(generator)
        optimizer = build(weights)
        for step in range(4):
            if step == n_before:
                weights = {name: value[[2, 0]] for name, value in weights.items()}
                optimizer.keep(weights, [2, 0])
            gradients = draw(generator)
            optimizer.begin_step()
            for name, gradient in gradients.items():
                optimizer.update(name, gradient[[2, 0]] if step >= n_before else gradient)
        results.append(weights if n_before < 4 else {name: value[[2, 0]] for name, value in weights.items()})
    for name in SHAPES:
        assert torch.equal(results[0][name], results[1][name])
