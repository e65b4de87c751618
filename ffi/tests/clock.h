/* How late it is. */
#ifndef CLOCK_H
#define CLOCK_H

#include <time.h>

/* Seconds, from whenever. */
static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

#endif
