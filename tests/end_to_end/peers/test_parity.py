"""The comparison with PyTorch accepts a right trainer and finds the mistakes of wrong ones (without dtrain's binary)."""

import math
import os
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
import torchvision

import dtrain_command
import gradients
import networks
import parity
import pictures
import reference
import safetensors_io
from dtrain_command import Task
from torch_stand_in import MISTAKES, StandIn

MODEL = "resnet20"


class Parity(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.folder = tempfile.TemporaryDirectory()
        cls.work = Path(cls.folder.name)
        wanted = networks.input_of(MODEL)
        pictures.write_pictures(cls.work / "pictures" / "train", wanted, seed=1)
        cls.images, cls.labels = pictures.read_pictures(cls.work / "pictures" / "train", wanted.channels)
        cls.task = Task(MODEL, wanted.num_classes, wanted.size, cls.work / "pictures", batch=len(cls.labels))
        weights = reference.random_weights(cls.task, cls.images, seed=1)
        cls.path = cls.work / "peer.safetensors"
        safetensors_io.write(cls.path, weights)
        cls.known = reference.prepare(cls.task, weights, cls.images, cls.labels, steps=5, perturbed_runs=4)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def checks_of(self, trainer):
        checks = parity.check_own_weights(trainer, self.task, self.images, self.labels)
        return checks + parity.check_peer_weights(trainer, self.task, self.known, self.path)

    def bf16_checks_of(self, trainer):
        return parity.check_bf16(trainer, self.task, self.known, self.images, self.labels, self.path)

    def test_accepts_a_right_trainer(self):
        checks = self.checks_of(StandIn(self.work))

        self.assertEqual([check for check in checks if not check.passed()], [])
        self.assertGreater(len(checks), 15)

    def test_finds_each_mistake_in_the_check_that_is_for_it(self):
        for mistake, name in MISTAKES.items():
            with self.subTest(mistake):
                broken = [check.name for check in self.checks_of(StandIn(self.work, mistake)) if not check.passed()]

                self.assertTrue(any(name in check for check in broken), broken)

    def test_accepts_a_right_trainer_in_bf16(self):
        checks = self.bf16_checks_of(StandIn(self.work))

        self.assertEqual([check for check in checks if not check.passed()], [])
        self.assertEqual(len(checks), 5)

    def test_finds_mistakes_in_bf16(self):
        found_by = {"sum_not_mean": "distance", "shuffled_labels": "first loss", "gradient_of_one_norm_lost": "worst tensor",
                    "another_name": "strict"}
        for mistake, name in found_by.items():
            with self.subTest(mistake):
                broken = [check.name for check in self.bf16_checks_of(StandIn(self.work, mistake)) if not check.passed()]

                self.assertTrue(any(name in check for check in broken), broken)

    def test_compares_nothing_in_bf16_where_the_cpu_does_not_have_it(self):
        class WithoutBf16(StandIn):
            def train(self, *_):
                raise dtrain_command.PrecisionRefused("exit code 2")

        self.assertEqual(self.bf16_checks_of(WithoutBf16(self.work)), [])

    def test_reports_a_trainer_that_fails_and_goes_on(self):
        class Failing(StandIn):
            def train(self, *_):
                raise parity.CommandFailed("exit code 3")

        checks = self.checks_of(Failing(self.work))

        self.assertEqual(sum(not check.passed() for check in checks), 4)
        self.assertEqual([check.passed() for check in self.bf16_checks_of(Failing(self.work))], [False])
        self.assertEqual([check.passed() for check in checks if check.name.startswith("logits")], [True, True])

    def test_not_a_number_passes_no_limit(self):
        self.assertFalse(parity.Check("figure", math.nan, 1.0).passed())
        self.assertFalse(parity.Check("figure", math.nan, 1.0, at_least=True).passed())


class Commands(unittest.TestCase):
    def test_tell_a_cpu_without_bf16_from_other_failures(self):
        refusal = "echo '--precision bf16: expected a CPU that computes bf16, found one without' >&2; exit "
        with self.assertRaises(dtrain_command.PrecisionRefused):
            dtrain_command.run(["sh", "-c", refusal + "2"])
        for script in (refusal + "1", "echo another fault >&2; exit 2"):
            with self.assertRaises(dtrain_command.CommandFailed) as caught:
                dtrain_command.run(["sh", "-c", script])
            self.assertNotIsInstance(caught.exception, dtrain_command.PrecisionRefused)


class Networks(unittest.TestCase):
    def test_have_the_published_numbers_of_parameters(self):
        published = {"lenet5": 61_706, "resnet20": 269_722, "resnet56": 853_018, "resnet18": 11_689_512, "resnet50": 25_557_032,
                     "googlenet": 6_624_904, "inception_v3": 23_834_568, "squeezenet1_1": 1_235_496, "mobilenet_v2": 3_504_872}

        for name, count in published.items():
            self.assertEqual(sum(parameter.numel() for parameter in networks.build(name).parameters()), count, name)

    def test_have_their_auxiliary_heads_when_asked(self):
        for name, count in {"googlenet": 13_004_888, "inception_v3": 27_161_264}.items():
            module = networks.build(name, aux_heads=True)
            self.assertEqual(sum(parameter.numel() for parameter in module.parameters()), count, name)

    def test_minimise_the_weighted_loss_of_auxiliary_heads_too(self):
        labels = torch.tensor([0, 1])
        main, first, second = (torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(3))
        loss = torch.nn.functional.cross_entropy

        googlenet = networks.training_loss(torchvision.models.GoogLeNetOutputs(main, second, first), labels)
        inception = networks.training_loss(torchvision.models.InceptionOutputs(main, first), labels)

        self.assertEqual(networks.training_loss(main, labels).item(), loss(main, labels).item())
        self.assertAlmostEqual(googlenet.item(), (loss(main, labels) + 0.3 * (loss(first, labels) + loss(second, labels))).item())
        self.assertAlmostEqual(inception.item(), (loss(main, labels) + 0.4 * loss(first, labels)).item())

    def test_keep_weight_decay_away_from_biases_and_batch_norm(self):
        module = networks.build("resnet20")
        decaying, others = networks.parameter_groups(module, 1e-4)

        self.assertEqual(len(decaying["params"]) + len(others["params"]), len(list(module.parameters())))
        self.assertEqual(len(others["params"]), 2 * 19 + 1)  # γ and β of 19 batch-norms, the bias of the linear layer
        self.assertEqual((decaying["weight_decay"], others["weight_decay"]), (1e-4, 0.0))

    def test_drop_nothing_in_the_comparison_and_are_known_to_have_dropout(self):
        for name in ("resnet18", "densenet121", "alexnet", "googlenet", "inception_v3", "squeezenet1_1", "mobilenet_v2", "lenet5"):
            module = networks.build(name)
            probabilities = [part.p for part in module.modules() if isinstance(part, torch.nn.Dropout)]
            networks.without_dropout(module)

            self.assertEqual(networks.has_dropout(name), bool(probabilities), name)
            self.assertTrue(all(part.p == 0.0 for part in module.modules() if isinstance(part, torch.nn.Dropout)), name)


class Gradients(unittest.TestCase):
    def test_are_compared_as_one_vector_and_one_by_one(self):
        exact = {"a": np.array([[3.0, 0.0]]), "b": np.array([4.0])}
        ours = {"a": np.array([[3.0, 3.0]]), "b": np.array([0.0])}

        comparison = gradients.compare(ours.__getitem__, exact)

        self.assertAlmostEqual(comparison.distance(), 1.0)  # √(3² + 4²) / √(3² + 4²)
        self.assertAlmostEqual(comparison.distance_of("a"), 1.0)
        self.assertAlmostEqual(comparison.distance_of("b"), 1.0)
        self.assertAlmostEqual(comparison.cosine(), 9.0 / (math.sqrt(18.0) * 5.0))

    def test_lose_the_digits_below_those_of_the_weights(self):
        weights = {"a": np.array([1.0], dtype=np.float32)}

        seen = gradients.after_a_step(weights, {"a": np.array([0.25 + 2.0**-40], dtype=np.float64)})

        self.assertEqual(seen("a").tolist(), [0.25])
        self.assertEqual(gradients.taken_off(weights, {"a": np.array([0.75], dtype=np.float32)})("a").tolist(), [0.25])


class Pictures(unittest.TestCase):
    def test_are_read_in_byte_order_of_class_and_file_and_keep_their_pixels(self):
        with tempfile.TemporaryDirectory() as folder:
            pictures.write_pictures(folder, networks.Input(size=16), seed=2)
            images, labels = pictures.read_pictures(folder, 3)

        self.assertEqual(labels.tolist(), [0, 0, 1, 1, 2, 2, 3, 3])
        levels = (images * torch.tensor(networks.STDDEV)[:, None, None] + torch.tensor(networks.MEAN)[:, None, None]) * 255
        self.assertLess((levels - levels.round()).abs().max(), 1e-3)
        self.assertGreater(len({image.numpy().tobytes() for image in images}), 7)

    @unittest.skipUnless(os.environ.get("DTRAIN_TEST_DATA"), "DTRAIN_TEST_DATA is not set")
    def test_are_photographs_where_there_is_test_data(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(pictures.write_pictures(folder, networks.Input(size=32), seed=2), "photographs")


if __name__ == "__main__":
    unittest.main()
