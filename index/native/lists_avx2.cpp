#include "lists_loop.h"

const ListKernels lists_avx2 = {below};
