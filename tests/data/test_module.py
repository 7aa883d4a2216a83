"""The data module, and which packages each name needs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dicom_ml.data import VolumeDataset, find_series
from dicom_ml.errors import SeriesError

L = pytest.importorskip("lightning.pytorch")

from dicom_ml.data import VolumeDataModule  # noqa: E402


class Net(L.LightningModule):
    """The least that can be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Conv3d(1, 2, 1)
        self.seen: list[str] = []

    def training_step(self, batch, batch_idx):
        self.seen += batch["series_instance_uid"]
        return torch.nn.functional.cross_entropy(self.net(batch["image"] / 1000), batch["label"][:, 0].long())

    def validation_step(self, batch, batch_idx):
        self.seen += batch["series_instance_uid"]

    def predict_step(self, batch, batch_idx):
        self.seen += batch["series_instance_uid"]
        return self.net(batch["image"] / 1000)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def trainer(folder, **options):
    return L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, **options,
    )  # fmt: skip


def test_folder_is_searched_and_split(cohort, tmp_path):
    data = VolumeDataModule(root=cohort, fractions={"train": 0.67, "val": 0.33}, batch_size=2)
    uids = {part: {r["series_instance_uid"] for r in records} for part, records in data.records.items()}
    assert uids["train"] | uids["val"] == uids["predict"] and len(uids["predict"]) == 4
    assert not uids["train"] & uids["val"]
    model = Net()
    trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0).fit(model, data)
    assert set(model.seen) == uids["predict"]


def test_predicts_on_given_records(cohort, tmp_path):
    records = find_series(cohort)[:3]
    data = VolumeDataModule(predict=records, num_workers=1, loader={"eval_batch_size": 2})
    out = trainer(tmp_path).predict(Net(), data)
    assert [o.shape[0] for o in out] == [2, 1]
    assert "train" not in data.datasets


def test_transforms_by_part(cohort):
    data = VolumeDataModule(root=cohort, train_transform=mark_train, eval_transform=mark_eval)
    data.setup()
    assert data.datasets["train"][0]["mark"] == "train" and data.datasets["predict"][0]["mark"] == "eval"
    assert isinstance(data.train_dataloader().sampler, torch.utils.data.RandomSampler)
    assert isinstance(data.predict_dataloader().sampler, torch.utils.data.SequentialSampler)


def mark_train(item):
    return item | {"mark": "train"}


def mark_eval(item):
    return item | {"mark": "eval"}


def test_missing_parts():
    with pytest.raises(SeriesError, match="no records"):
        VolumeDataModule().predict_dataloader()
    with pytest.raises(SeriesError, match="no records for test"):
        VolumeDataModule(predict=["x"]).test_dataloader()
    with pytest.raises(SeriesError, match="fractions"):
        VolumeDataModule(root="x", fractions={"training": 1.0})


def test_failures(cohort, tmp_path):
    data = VolumeDataModule(predict=[cohort / "a" / "ct", tmp_path / "absent"], dataset={"on_error": "skip"})
    with pytest.warns(UserWarning, match="record 1"):
        assert len(list(data.predict_dataloader())) == 2
    assert list(data.failures["predict"]) == [1]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_datasets_need_no_lightning():
    code = "import sys; from dicom_ml.data import VolumeDataset, split_by_patient; print('lightning' in sys.modules)"
    assert run(code) == "False"


def test_missing_packages_say_what_to_install():
    hide = "import sys; sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None; "
    code = hide + (
        "from dicom_ml.errors import MissingPackageError\n"
        "try:\n    from dicom_ml.data import VolumeDataModule\nexcept MissingPackageError as e: print(e)"
    )
    assert "dicom-ml[lightning]" in run(code)
    code = code.replace("['lightning'] = sys.modules['pytorch_lightning']", "['torch']").replace(
        "DataModule", "Dataset"
    )
    assert "dicom-ml[torch]" in run(code)


def test_other_name_of_lightning():
    pytest.importorskip("pytorch_lightning")
    code = (
        "import pytorch_lightning as pl; from dicom_ml.data import VolumeDataModule; "
        "print(issubclass(VolumeDataModule, pl.LightningDataModule))"
    )
    assert run(code) == "True"


def test_dataset_is_what_the_module_uses(cohort):
    data = VolumeDataModule(predict=cohort)
    data.setup("predict")
    assert isinstance(data.datasets["predict"], VolumeDataset)
