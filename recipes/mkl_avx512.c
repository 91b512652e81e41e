/* When this is preloaded, MKL uses AVX-512 on processors that have it and are not Intel's, where it
   would otherwise take a slower path. Float32 training of small models takes 15 % less time with it,
   and rounds differently (results/against_stock.md). */
int mkl_serv_intel_cpu_true(void) { return 1; }
