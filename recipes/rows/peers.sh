# The positions that a user would choose instead of FLOATER, and FLOATER in the same forms and on top
# of them. Hyperparameters are those of the papers, except for lengths, which follow from the longest
# training sentences: the experiment sets LENGTH, in subwords. Where it is small, T5's rows need fewer
# BUCKETS and FEW_BUCKETS. The most interesting rows come first. docs/protocol.md says what was tuned
# in FLOATER.
BASELINE=sinusoidal-input
FLOATER="--position-encoder floater --dynamics mlp --position-blocks all"
TURNS="--position-encoder floater --position-blocks all --initial-scale 1"
DRIVEN="--position-encoder floater --position-blocks all --dynamics driven"
T5="--relative-buckets ${BUCKETS:-32} --relative-max-distance $LENGTH"
row floater-all $FLOATER
row floater-cross-on-rotary $FLOATER --base-positions rotary --position-attention cross
row rotary --position-encoder rotary
row floater-on-rotary $FLOATER --base-positions rotary
row relative-bias --position-encoder relative-bias $T5
row floater-on-relative-bias $FLOATER --base-positions relative-bias $T5
row floater-driven-on-relative-bias $DRIVEN --base-positions relative-bias $T5
row shaw --position-encoder shaw --shaw-max-distance 16
row shaw-per-head --position-encoder shaw --shaw-max-distance 16 --shaw-per-head
row alibi --position-encoder alibi
row alibi-symmetric --position-encoder alibi --alibi-form symmetric
row fire --position-encoder fire --fire-length "$LENGTH"
row fire-per-block --position-encoder fire --fire-length "$LENGTH" --fire-per-block
row fourier --position-encoder fourier
row fourier-lr-1 --position-encoder fourier --dynamics-lr-scale 1
row floater-linear $TURNS --dynamics linear
row floater-driven $DRIVEN
row floater-driven-on-rotary $DRIVEN --base-positions rotary
row floater-driven-cross-on-rotary $DRIVEN --base-positions rotary --position-attention cross
row floater-linear-initial16 $TURNS --dynamics linear --initial-lr-scale 16
row floater-initial16 $FLOATER --initial-lr-scale 16
row floater-cross-on-rotary-initial16 $FLOATER --base-positions rotary --position-attention cross \
    --initial-lr-scale 16
row floater-linear-cross-on-rotary-initial16 $TURNS --base-positions rotary \
    --position-attention cross --dynamics linear --initial-lr-scale 16
row floater-linear-on-rotary-initial16 $TURNS --base-positions rotary --dynamics linear \
    --initial-lr-scale 16
row floater-start $FLOATER --train-only '^(?!.*\.dynamics\.)' # h stays as it starts
row floater-on-rotary-start $FLOATER --base-positions rotary --train-only '^(?!.*\.dynamics\.)'
row fourier-on-rotary --position-encoder fourier --base-positions rotary
row floater-on-fire $FLOATER --base-positions fire --fire-length "$LENGTH"
row floater-driven-on-fire $DRIVEN --base-positions fire --fire-length "$LENGTH"
row floater-rotation $FLOATER --position-injection rotation
row floater-scores $FLOATER --position-injection scores
row floater-cross $FLOATER --position-attention cross
row floater-self $FLOATER --position-attention self
row floater-shift $FLOATER --position-shift "$SHIFT"
row sinusoidal-shift --position-encoder sinusoidal --position-blocks input --position-shift "$SHIFT"
row sinusoidal-log-scale --position-encoder sinusoidal --position-blocks input \
    --attention-log-scale "$LENGTH"
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
row learned-input --position-encoder learned --position-blocks input
row none --position-encoder none
# To show how much of a difference is due to the input, where FLOATER's biases keep sinusoids and peers
# drop them.
row floater-driven-no-input $DRIVEN --base-positions none
row floater-linear-no-input-initial16 $TURNS --base-positions none --dynamics linear \
    --initial-lr-scale 16
row rotary-keep-input --position-encoder rotary --keep-input-positions
row rotary-cross --position-encoder rotary --position-attention both
# T5's and FIRE's papers have lengths that are a quarter of those of training: 128 and 512.
row relative-bias-quarter --position-encoder relative-bias --relative-buckets "${FEW_BUCKETS:-8}" \
    --relative-max-distance $((LENGTH / 4))
row fire-quarter --position-encoder fire --fire-length $((LENGTH / 4))
# Language models go beyond the lengths that they were trained on in this way: only when the model
# translates, the slowest angles of a head, which is 32 wide, are twice as slow (rotary's base times
# 2^(16/15), the "NTK-aware" base).
decoded_row rotary-ntk rotary --model-overrides "{'rotary_base':20946.0}"
decoded_row floater-on-rotary-ntk floater-on-rotary --model-overrides "{'rotary_base':20946.0}"
