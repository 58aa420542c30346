#include "bytes_loop.h"

const ByteKernels bytes_neon = {dots};
