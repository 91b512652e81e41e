# The encodings of the paper's figure 3, which are drawn when a row is scored.
BASELINE=sinusoidal-all
HEATMAPS=1
row sinusoidal-all --position-encoder sinusoidal --position-blocks all
row learned-all --position-encoder learned --position-blocks all
row floater-all --position-encoder floater --dynamics mlp --position-blocks all
row rnn-1-scalar --position-encoder rnn --position-injection bias --rnn-layers 1 --rnn-input scalar
