# The rows of the paper's table 6: what drives the trajectories, at all blocks as biases.
BASELINE=floater-all
RNN="--position-encoder rnn --position-injection bias"
row floater-all --position-encoder floater --dynamics mlp --position-blocks all
row rnn-1-scalar $RNN --rnn-layers 1 --rnn-input scalar
row rnn-2-scalar $RNN --rnn-layers 2 --rnn-input scalar
row rnn-1-vector $RNN --rnn-layers 1 --rnn-input vector
