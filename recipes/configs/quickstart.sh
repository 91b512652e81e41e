TITLE="Quick start: English to German interface texts"
PROTOCOL=quickstart
PAIRS=(en-de)
SEEDS=(1)
BASELINE=sinusoidal
row floater --position-encoder floater
row sinusoidal --position-encoder sinusoidal --position-blocks input
row learned --position-encoder learned --position-blocks input
