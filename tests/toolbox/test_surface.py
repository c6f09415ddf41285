"""The promised names: where they are, what they take, and what upstream's default configuration was."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from yacs.config import CfgNode

from dassl.config import clean_cfg, get_cfg_default

# module -> name -> parameters; None: not a callable of ours, or its parameters are no promise
SURFACE: dict[str, dict[str, str | None]] = {
    "dassl.config": {"get_cfg_default": "()", "clean_cfg": "(cfg, trainer)"},
    "dassl.engine": {
        "TRAINER_REGISTRY": None,
        "build_trainer": "(cfg)",
        "TrainerBase": "()",
        "SimpleTrainer": "(cfg)",
        "TrainerX": "(cfg)",
        "TrainerXU": "(cfg)",
        "SimpleNet": "(cfg, model_cfg, num_classes, **kwargs)",
    },
    "dassl.engine.trainer": dict.fromkeys(("TrainerBase", "SimpleTrainer", "TrainerX", "TrainerXU", "SimpleNet")),
    "dassl.data": {
        "DataManager": "(cfg, custom_tfm_train=None, custom_tfm_test=None, dataset_wrapper=None)",
        "DatasetWrapper": "(cfg, data_source, transform=None, is_train=False)",
    },
    "dassl.data.data_manager": {
        "DataManager": None,
        "DatasetWrapper": None,
        "build_data_loader": "(cfg, sampler_type='SequentialSampler', data_source=None, batch_size=64, "
        "n_domain=0, n_ins=2, tfm=None, is_train=True, dataset_wrapper=None)",
    },
    "dassl.data.datasets": {
        "DATASET_REGISTRY": None,
        "build_dataset": "(cfg)",
        "Datum": "(impath='', label=0, domain=0, classname='')",
        "DatasetBase": "(train_x=None, train_u=None, val=None, test=None)",
    },
    "dassl.data.datasets.base_dataset": {"Datum": None, "DatasetBase": None},
    "dassl.data.samplers": {
        "build_sampler": "(sampler_type, cfg=None, data_source=None, batch_size=32, n_domain=0, n_ins=16)"
    },
    "dassl.data.transforms": {
        "build_transform": "(cfg, is_train=True, choices=None)",
        "INTERPOLATION_MODES": None,
    },
    "dassl.data.transforms.transforms": {
        "AVAI_CHOICES": None,
        "INTERPOLATION_MODES": None,
        "build_transform": "(cfg, is_train=True, choices=None)",
        "_build_transform_train": "(cfg, choices, target_size, normalize)",
        "_build_transform_test": "(cfg, choices, target_size, normalize)",
        "Cutout": "(n_holes=1, length=16)",
        "Random2DTranslation": None,
        "GaussianNoise": "(mean=0, std=0.15, p=0.5)",
        "InstanceNormalization": "(eps=1e-08)",
    },
    "dassl.evaluation": {
        "EVALUATOR_REGISTRY": None,
        "build_evaluator": "(cfg, **kwargs)",
        "EvaluatorBase": "(cfg)",
        "Classification": "(cfg, lab2cname=None, **kwargs)",
    },
    "dassl.metrics": {
        "compute_accuracy": "(output, target, topk=(1,))",
        "compute_distance_matrix": "(input1, input2, metric='euclidean')",
        "cosine_distance": "(input1, input2)",
        "euclidean_squared_distance": "(input1, input2)",
    },
    "dassl.modeling": {
        "Backbone": None,
        "BACKBONE_REGISTRY": None,
        "HEAD_REGISTRY": None,
        "NETWORK_REGISTRY": None,
        "build_backbone": "(name, verbose=True, **kwargs)",
        "build_head": "(name, verbose=True, **kwargs)",
        "build_network": "(name, verbose=True, **kwargs)",
    },
    "dassl.optim": {
        "build_optimizer": "(model, optim_cfg, param_groups=None)",
        "build_lr_scheduler": "(optimizer, optim_cfg)",
    },
    "dassl.utils": {
        "setup_logger": "(output=None)",
        "Logger": "(fpath=None)",
        "set_random_seed": "(seed)",
        "collect_env_info": "()",
        "load_pretrained_weights": "(model, weight_path)",
        "load_checkpoint": "(fpath)",
        "save_checkpoint": "(state, save_dir, is_best=False, remove_module_from_keys=True, model_name='')",
        "resume_from_checkpoint": "(fdir, model, optimizer=None, scheduler=None)",
        "mkdir_if_missing": "(dirname)",
        "listdir_nohidden": "(path, sort=False)",
        "read_json": "(fpath)",
        "write_json": "(obj, fpath)",
        "check_isfile": "(fpath)",
        "AverageMeter": "(ema=False)",
        "MetricMeter": "(delimiter=' ')",
        "Registry": "(name)",
        "open_all_layers": "(model)",
        "open_specified_layers": "(model, open_layers)",
        "count_num_param": "(model=None, params=None)",
        "init_network_weights": "(model, init_type='normal', gain=0.02)",
        "tolist_if_not": "(x)",
        "check_availability": "(requested, available)",
        "get_most_similar_str_to_a_from_b": "(a, b)",
        "download_url": None,
        "read_image": "(path)",
    },
    "dassl.utils.torchtools": {
        "load_checkpoint": None,
        "save_checkpoint": None,
        "adjust_learning_rate": "(optimizer, base_lr, epoch, stepsize=20, gamma=0.1, linear_decay=False, final_lr=0, "
        "max_epoch=100)",
        "set_bn_to_eval": "(m)",
    },
    "dassl.optim.lr_scheduler": {
        "ConstantWarmupScheduler": "(optimizer, successor, warmup_epoch, cons_lr, last_epoch=-1, verbose=False)",
        "LinearWarmupScheduler": "(optimizer, successor, warmup_epoch, min_lr, last_epoch=-1, verbose=False)",
        "_BaseWarmupScheduler": "(optimizer, successor, warmup_epoch, last_epoch=-1, verbose=False)",
    },
    "dassl.optim.radam": {
        "RAdam": "(params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0, degenerated_to_sgd=True)",
        "PlainRAdam": "(params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0, degenerated_to_sgd=True)",
        "AdamW": "(params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0, warmup=0)",
    },
    "dassl.modeling.ops": {
        "MixStyle": "(p=0.5, alpha=0.1, eps=1e-06, mix='random')",
        "EFDMix": "(p=0.5, alpha=0.1, eps=1e-06, mix='random')",
        "DSBN2d": "(num_features, n_domain, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
        "TransNorm2d": "(num_features, eps=1e-05, momentum=0.1, adaptive_alpha=True)",
        "MaximumMeanDiscrepancy": "(kernel_type='rbf', normalize=False)",
        "SinkhornDivergence": "(dist_metric='cosine', eps=0.01, max_iter=5, bp_to_sinkhorn=False)",
        "mixup": "(x1, x2, y1, y2, beta, preserve_order=False)",
        "run_with_mixstyle": "(model, mix=None)",
        "cross_entropy": "(input, target, label_smooth=0, reduction='mean')",
    },
    "dassl.modeling.backbone.resnet": {
        "ResNet": "(block, layers, ms_class=None, ms_layers=(), ms_p=0.5, ms_a=0.1, **kwargs)",
        "init_pretrained_weights": "(model, model_url)",
    },
}

METHODS = {
    "register_model": "(self, name='model', model=None, optim=None, sched=None)",
    "get_model_names": "(self, names=None)",
    "save_model": "(self, epoch, directory, is_best=False, val_result=None, model_name='')",
    "resume_model_if_exist": "(self, directory)",
    "load_model": "(self, directory, epoch=None)",
    "set_model_mode": "(self, mode='train', names=None)",
    "update_lr": "(self, names=None)",
    "detect_anomaly": "(self, loss)",
    "init_writer": "(self, log_dir)",
    "close_writer": "(self)",
    "write_scalar": "(self, tag, scalar_value, global_step=None)",
    "train": "(self)",
    "before_train": "(self)",
    "after_train": "(self)",
    "before_epoch": "(self)",
    "after_epoch": "(self)",
    "run_epoch": "(self)",
    "test": "(self, split=None)",
    "parse_batch_train": "(self, batch)",
    "parse_batch_test": "(self, batch)",
    "forward_backward": "(self, batch)",
    "model_inference": "(self, input)",
    "model_zero_grad": "(self, names=None)",
    "model_backward": "(self, loss)",
    "model_update": "(self, names=None)",
    "model_backward_and_update": "(self, loss, names=None)",
    "get_current_lr": "(self, names=None)",
    "check_cfg": "(self, cfg)",
    "build_data_loader": "(self)",
    "build_model": "(self)",
}

DATASET_METHODS = {
    "generate_fewshot_dataset": "(self, *data_sources, num_shots=-1, repeat=False)",
    "download_data": "(self, url, dst, from_gdrive=True)",
    "check_input_domains": "(self, source_domains, target_domains)",
    "is_input_domain_valid": "(self, input_domains)",
    "split_dataset_by_label": "(self, data_source)",
    "split_dataset_by_domain": "(self, data_source)",
}


def parameters(function) -> str:
    """Names, kinds and defaults, without annotations."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in SURFACE.items() for n in names])
def test_promised_name(module, name):
    thing = getattr(importlib.import_module(module), name)
    if SURFACE[module][name] is not None:
        assert parameters(thing) == SURFACE[module][name]


@pytest.mark.parametrize("name", METHODS)
def test_trainer_method(name):
    trainer = importlib.import_module("dassl.engine").TrainerX
    assert parameters(getattr(trainer, name)) == METHODS[name]


@pytest.mark.parametrize("name", DATASET_METHODS)
def test_dataset_method(name):
    assert (
        parameters(getattr(importlib.import_module("dassl.data.datasets").DatasetBase, name)) == DATASET_METHODS[name]
    )


def test_built_in_registrations():
    from dassl.engine import TRAINER_REGISTRY, Vanilla
    from dassl.evaluation import EVALUATOR_REGISTRY
    from dassl.modeling import BACKBONE_REGISTRY, HEAD_REGISTRY

    assert "Classification" in EVALUATOR_REGISTRY.registered_names()
    assert HEAD_REGISTRY.registered_names() == ["mlp"]
    backbones = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vgg16"]
    assert [n for n in BACKBONE_REGISTRY.registered_names() if n in backbones] == backbones
    ours = [n for n in TRAINER_REGISTRY.registered_names() if TRAINER_REGISTRY.get(n).__module__.startswith("dassl")]
    assert [TRAINER_REGISTRY.get(name) for name in ours] == [Vanilla]  # registered when it is imported


def test_default_configuration_is_upstreams(engine_goldens):
    def plain(node):
        if isinstance(node, dict):
            return {key: plain(value) for key, value in node.items()}
        return list(node) if isinstance(node, tuple) else node

    assert plain(get_cfg_default()) == engine_goldens["cfg_default"]
    assert json.dumps(plain(get_cfg_default()), sort_keys=True) == json.dumps(
        engine_goldens["cfg_default"], sort_keys=True
    )  # 1 is not 1.0, nor True


def test_default_configuration_is_a_copy():
    first = get_cfg_default()
    first.INPUT.PIXEL_MEAN.append(9.0)
    first.TRAINER.COOP = CfgNode({"N_CTX": 16})
    second = get_cfg_default()
    assert second.INPUT.PIXEL_MEAN == [0.485, 0.456, 0.406]
    assert "COOP" not in second.TRAINER


def test_frozen_nodes_take_item_assignment():
    """CLAP sets `cfg.OPTIM["LR"]` after the freeze."""
    cfg = get_cfg_default()
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.OPTIM.LR = 1.0
    cfg.OPTIM["LR"] = 1.0
    assert cfg.OPTIM.LR == 1.0


def test_yaml_text_values_are_decoded(tmp_path):
    file = tmp_path / "coop.yaml"
    file.write_text('INPUT:\n  SIZE: (224, 192)\n  TRANSFORMS: ["normalize"]\nOPTIM:\n  WARMUP_CONS_LR: 1e-4\n')
    cfg = get_cfg_default()
    cfg.merge_from_file(str(file))
    assert cfg.INPUT.SIZE == (224, 192)
    assert cfg.OPTIM.WARMUP_CONS_LR == 1e-4
    with pytest.raises(ValueError, match="Type mismatch"):
        cfg.merge_from_list(["OPTIM.LR", "1"])


@pytest.mark.parametrize("name", ["CoOp", "TaskRes"])
def test_clean_cfg_keeps_the_trainers_node(name):
    cfg = get_cfg_default()
    cfg.TRAINER.COOP = CfgNode({"N_CTX": 16})
    cfg.TRAINER.TaskRes = CfgNode({"RESIDUAL_SCALE": 1.0})
    clean_cfg(cfg, name)
    assert [key.upper() for key in cfg.TRAINER] == ["NAME", name.upper()]


def test_import_is_light():
    """Neither torchvision nor what only some uses need is imported with the engine."""
    code = "import sys, dassl.engine, dassl.data.datasets, dassl.config; print(*sys.modules)"
    toolbox = Path(importlib.import_module("dassl").__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=toolbox, capture_output=True, text=True, check=True, timeout=120
    )
    heavy = {"torchvision", "tensorboard", "sklearn", "gdown", "pandas", "scipy", "matplotlib"}
    assert heavy.isdisjoint(done.stdout.split())
