/* Declares again, as NCCL documents them, what nccl.h has declared: a compiler takes both only if they are the same. */
#ifdef __cplusplus
extern "C" {
#endif
#include "prototypes.h"
#ifdef __cplusplus
}
#endif
