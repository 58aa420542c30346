#include "bytes_loop.h"

const ByteKernels bytes_avx2 = {dots};
