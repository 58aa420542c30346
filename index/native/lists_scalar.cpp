#include "lists_loop.h"

const ListKernels lists_scalar = {below};
