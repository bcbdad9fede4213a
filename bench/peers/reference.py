"""What PyTorch makes of given weights and pictures: loss, gradient, statistics, logits and the losses of a few steps.

Everything in float64 (the truth), in float32 (a peer's rounding), and, for later losses, in float32 from slightly
perturbed weights (how far equally right programs drift apart). The first step also in bf16, under autocast.
"""

import copy
import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch

import gradients
import networks
from dtrain_command import Rates

REORDERED_STEPS = 4
BF16_STEPS = 3
PERTURBATION = 1e-6


@dataclass
class FirstStep:
    loss: float
    gradient: dict    # name -> array
    statistics: dict  # running means and variances after the step, name -> float64 array


@dataclass
class PeerStep:
    """A step in float32 or bf16. Its gradient is not kept: those of several steps of a large network would fill the memory."""
    gradient: gradients.Comparison  # with float64
    statistics: dict


@dataclass
class Reference:
    weights: dict     # name -> array as in the file, float32 and int64
    exact: FirstStep  # float64
    peers: list       # PeerStep, several ways that differ in rounding alone
    rates: Rates      # of the steps whose losses follow
    losses: list      # float32, of each step
    spread: list      # largest deviation of a perturbed run from `losses`, of each step
    logits: np.ndarray       # evaluation mode, float64
    peer_logits: np.ndarray  # evaluation mode, float32


def load(task, weights, dtype=torch.float32):
    """A module with these weights and without dropout; names and shapes must fit exactly (strict)."""
    module = copy.deepcopy(_any_module(task.model, task.num_classes, task.aux_heads))
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()}, strict=True)
    return module.to(dtype)


@functools.lru_cache(maxsize=1)
def _any_module(model, num_classes, aux_heads):
    """Built once: torchvision's initialisation of 133 million weights takes longer than a step."""
    return networks.without_dropout(networks.build(model, num_classes, aux_heads))


def state(module):
    """A module's tensors as numpy arrays, in PyTorch's order."""
    return {name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()}


def random_weights(task, images, seed, mean_beta=0.0):
    """PyTorch's initialisation with γ and β away from 1 and 0 and running statistics of the pictures, so that
    exchanged or forgotten tensors show."""
    torch.manual_seed(seed)
    module = networks.build(task.model, task.num_classes, task.aux_heads).train()
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.8, 1.2)
        torch.nn.init.normal_(norm.bias, mean_beta, 0.1)
        norm.momentum = 0.5
    with torch.no_grad():
        for _ in range(4 if norms else 0):
            module((images + 0.1 * torch.randn_like(images)).float())
    return state(module)


def prepare(task, weights, images, labels, steps, perturbed_runs):
    """images: float64. Costs one float64 step and about 6 + (1 + perturbed_runs) x steps float32 steps."""
    exact = first_step(load(task, weights, torch.float64), images, labels)
    peers = [beside(exact, weights, step)
             for step in equal_first_steps(lambda: load(task, weights), images.float(), labels)]
    rates = choose_rates(exact.gradient)
    losses = run_steps(load(task, weights), images.float(), labels, rates, steps)
    spread = [0.0] * steps
    for run in range(perturbed_runs if steps else 0):
        module = load(task, perturb(weights, seed=run))
        perturbed = run_steps(module, images.float(), labels, rates, steps)
        spread = [max(worst, abs(a - b)) for worst, a, b in zip(spread, perturbed, losses)]
    logits = [evaluate(load(task, weights, dtype), images.to(dtype)) for dtype in (torch.float64, torch.float32)]
    return Reference(weights, exact, peers, rates, losses, spread, *logits)


def bf16_first_steps(task, known, images, labels):
    """PeerSteps under autocast, in as many orders of the pictures: one rounds them as luck has it."""
    pictures_and_labels = itertools.islice(orders(images.float(), labels), BF16_STEPS)
    return [beside(known.exact, known.weights, first_step(load(task, known.weights), *ordered, bf16=True))
            for ordered in pictures_and_labels]


def beside(exact, weights, step):
    return PeerStep(gradients.compare(gradients.after_a_step(weights, step.gradient), exact.gradient), step.statistics)


def first_step(module, images, labels, bf16=False):
    """Training mode; with bf16 under autocast, but for the loss, which is float32 as dtrain's."""
    module.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        outputs = module(images)
    loss = networks.training_loss(outputs, labels)
    loss.backward()
    gradient = {name: parameter.grad.numpy() for name, parameter in module.named_parameters()}
    statistics = {name: values.astype(np.float64) for name, values in state(module).items() if is_statistics(name)}
    return FirstStep(loss.item(), gradient, statistics)


def equal_first_steps(fresh_module, images, labels):
    """The same step in float32 by oneDNN, by PyTorch's own kernels, and with the pictures in other orders.

    A rounding error decides on which side of 0 some activation falls, and one flipped ReLU moves the gradient a hundred
    times more than rounding does: a single float32 run may be lucky. Only several tell how far float32 is from the truth."""
    yield first_step(fresh_module(), images, labels)
    with torch.backends.mkldnn.flags(enabled=False):
        step = first_step(fresh_module(), images, labels)
    yield step
    for ordered in itertools.islice(orders(images, labels), REORDERED_STEPS):
        yield first_step(fresh_module(), *ordered)


def orders(images, labels):
    """The same pictures and labels, shuffled again and again."""
    for seed in itertools.count():
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        yield images[order], labels[order]


def choose_rates(gradient):
    """A learning rate whose first step is no longer than 0.3: the losses fall, and do not explode or turn chaotic."""
    length = math.sqrt(sum(np.sum(values ** 2) for values in gradient.values()))
    return Rates(lr=float(f"{min(0.05, 0.3 / length):.2g}"), momentum=0.9, weight_decay=1e-4)


def first_loss(module, images, labels):
    with torch.no_grad():
        return networks.training_loss(copy.deepcopy(module).train()(images), labels).item()


def run_steps(module, images, labels, rates, steps):
    """Losses of a few steps on the same pictures."""
    module.train()
    optimizer = torch.optim.SGD(networks.parameter_groups(module, rates.weight_decay), lr=rates.lr, momentum=rates.momentum)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = networks.training_loss(module(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def evaluate(module, images):
    with torch.no_grad():
        return module.eval()(images).double().numpy()


def perturb(weights, seed):
    """Every trained weight times 1 + 1e-6·N(0, 1)."""
    random = np.random.default_rng(seed)
    return {name: array if is_statistics(name) or array.dtype != np.float32
            else (array * (1.0 + PERTURBATION * random.standard_normal(array.shape))).astype(np.float32)
            for name, array in weights.items()}


def is_statistics(name):
    return name.endswith(("running_mean", "running_var"))
