"""fairseq-train, with every process keeping its parameters, and torch's DDP on the CPU.

fairseq saves the first process's parameters only, and names a GPU to torch's
``DistributedDataParallel`` even with ``--cpu``.
"""

import torch
from fairseq.models import distributed_fairseq_model
from fairseq_cli import train
from torch.nn.parallel import DistributedDataParallel


class Trainer(train.Trainer):
    def consolidate_optimizer(self):
        """Called in every process before a checkpoint is written."""
        super().consolidate_optimizer()
        path = f"{self.cfg.checkpoint.save_dir}/parameters{self.data_parallel_rank}.pt"
        torch.save(self.get_model().state_dict(), path)


def on_cpu(**arguments):
    return DistributedDataParallel(**{**arguments, "device_ids": None, "output_device": None})


train.Trainer = Trainer
distributed_fairseq_model.DistributedDataParallel = on_cpu
train.cli_main()
