#include "bytes_loop.h"

const ByteKernels bytes_avx512 = {dots};
