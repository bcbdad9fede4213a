"""Plays dtrain's part in PyTorch, rightly or with one of the mistakes that a trainer can make: shows that the comparison
accepts the first and finds each of the others."""

import copy

import numpy as np
import torch

import networks
import pictures
import reference
import safetensors_io

MISTAKES = {
    "sum_not_mean": "gradient",               # the gradient is scaled by another number than 1/global batch
    "shuffled_labels": "first loss",
    "gradient_of_one_norm_lost": "worst tensor",
    "biased_variance": "running statistics",
    "no_momentum": "loss of step",
    "batch_statistics_in_evaluation": "logits",
    "another_name": "strict",
    "transposed_head": "strict",
}


class StandIn:
    """The methods of dtrain_command.Dtrain. Pictures in another order: rounds differently from the reference."""

    def __init__(self, work, mistake=None):
        self.work, self.mistake = work, mistake

    def init(self, task, seed):
        torch.manual_seed(seed)
        return self._save(task, networks.build(task.model, task.num_classes, task.aux_heads))

    def train(self, task, weights, steps, rates, conv):
        module, images, labels = self._open(task, weights)
        module.train()
        momentum = 0.0 if self.mistake == "no_momentum" else rates.momentum
        optimizer = torch.optim.SGD(networks.parameter_groups(module, rates.weight_decay), lr=rates.lr, momentum=momentum)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            before = copy.deepcopy(module.state_dict())
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=task.precision == "bf16"):
                outputs = module(images)
            loss = networks.training_loss(outputs, labels)
            (loss * len(labels) if self.mistake == "sum_not_mean" else loss).backward()
            if self.mistake == "gradient_of_one_norm_lost":
                module.bn1.weight.grad.zero_()
            if self.mistake == "biased_variance":
                self._take_biased_variance(module, before, images)
            optimizer.step()
            losses.append(loss.item())
        return losses, self._save(task, module)

    def eval_logits(self, task, weights, conv):
        module, images, _ = self._open(task, weights)
        module.train(self.mistake == "batch_statistics_in_evaluation")
        with torch.no_grad():
            return module(images).numpy()[::-1]

    def _open(self, task, weights):
        tensors, _ = safetensors_io.read(weights)
        images, labels = pictures.read_pictures(task.pictures / "train", networks.input_of(task.model).channels)
        if self.mistake == "shuffled_labels":
            labels = torch.roll(labels, 1)
        return reference.load(task, tensors), images.float().flip(0), labels.flip(0)

    @staticmethod
    def _take_biased_variance(module, before, images):
        """As if the running variance of the last batch-norm had been taken with 1/n."""
        name, norm = [(n, part) for n, part in module.named_modules() if isinstance(part, torch.nn.BatchNorm2d)][-1]
        count = len(images) * (images.shape[-1] // 4) ** 2
        old = before[f"{name}.running_var"] * (1.0 - norm.momentum)
        norm.running_var.copy_(old + (norm.running_var - old) * (count - 1) / count)

    def _save(self, task, module):
        tensors = reference.state(module)
        if self.mistake == "another_name":
            tensors = {name.replace("linear.", "fc."): array for name, array in tensors.items()}
        if self.mistake == "transposed_head":
            tensors["linear.weight"] = np.ascontiguousarray(tensors["linear.weight"].T)
        path = self.work / "saved.safetensors"
        safetensors_io.write(path, tensors)
        return path
