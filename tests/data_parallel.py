"""Run fairseq-train with every process saving its parameters, and with torch's DDP on the CPU.

fairseq itself saves only the first process's parameters, and tells torch's
``DistributedDataParallel`` to use a GPU even with ``--cpu``.
"""

import torch
from fairseq.models import distributed_fairseq_model
from fairseq_cli import train
from torch.nn.parallel import DistributedDataParallel


class Trainer(train.Trainer):
    def consolidate_optimizer(self):
        """Save the parameters; this is called in every process before a checkpoint is written."""
        super().consolidate_optimizer()
        path = f"{self.cfg.checkpoint.save_dir}/parameters{self.data_parallel_rank}.pt"
        torch.save(self.get_model().state_dict(), path)


def on_cpu(**arguments):
    return DistributedDataParallel(**{**arguments, "device_ids": None, "output_device": None})


train.Trainer = Trainer
distributed_fairseq_model.DistributedDataParallel = on_cpu
train.cli_main()
