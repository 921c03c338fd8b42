"""What `lapsi` sees of Lightning, where it is not installed: the same names and attributes, and training that descends once."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.utils.data import DataLoader


class LightningModule(nn.Module):
    def __init__(self):
        super().__init__()
        self._trainer = None

    def forward(self, *arguments, **named):
        """As that of Lightning, which is there only to be overridden."""
        return super().forward(*arguments, **named)

    @property
    def trainer(self):
        if self._trainer is None:
            raise RuntimeError("not attached to a trainer")
        return self._trainer


class LightningDataModule:
    def train_dataloader(self):
        raise NotImplementedError


class CombinedLoader:
    def __init__(self, iterables, mode="min_size"):
        self.iterables, self.mode = iterables, mode


class Trainer:
    def __init__(self, **_):
        self.lightning_module = self.train_dataloader = None

    def fit(self, module, loaders=None, datamodule=None):
        module._trainer, self.lightning_module = self, module
        source = module if datamodule is None else datamodule
        loaders = source.train_dataloader() if loaders is None else loaders
        self.train_dataloader = loaders.iterables if isinstance(loaders, CombinedLoader) else loaders
        optimizer = module.configure_optimizers()
        if isinstance(self.train_dataloader, DataLoader):
            for place, batch in enumerate(self.train_dataloader):
                optimizer.zero_grad()
                module.training_step(batch, place).backward()
                optimizer.step()
        module.train()


DOUBLE = SimpleNamespace(
    LightningModule=LightningModule,
    LightningDataModule=LightningDataModule,
    CombinedLoader=CombinedLoader,
    Trainer=Trainer,
)


def trained_on(data, pl=DOUBLE):
    """A trainer that has trained a small network on samples of 4 features and 3 classes."""

    class Classifier(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
            self.loss = nn.CrossEntropyLoss()

        def forward(self, inputs):
            return self.model(inputs)

        def training_step(self, batch, _):
            return self.loss(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    trainer = quiet_trainer(pl)
    trainer.fit(Classifier(), DataLoader(data, batch_size=8, shuffle=True))
    return trainer


def quiet_trainer(pl=DOUBLE):
    return pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
