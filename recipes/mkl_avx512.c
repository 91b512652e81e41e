/* Preloaded, this has MKL use AVX-512 on processors that have it and are not Intel's, where it takes
   a slower way otherwise: float32 training of small models takes 15 % less time, and rounds otherwise
   (results/against_stock.md). */
int mkl_serv_intel_cpu_true(void) { return 1; }
