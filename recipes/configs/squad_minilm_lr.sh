TITLE="SQuAD, validation set: the learning rate of MiniLM as it was"
PROTOCOL=squad_minilm
ON_VALIDATION=1
PAIRS=(half-1.1)
SEEDS=(1)
BASELINE=base-lr-5e-5
for rate in ${RATES:-5e-5 1e-4 2e-4}; do # if 2e-4 is the best, also run with RATES=3e-4
    row "base-lr-$rate" --position-encoder learned --position-blocks input
done
