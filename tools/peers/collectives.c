/* Times one MPI collective as nccl-tests would: out of place, calls back to back, the slowest rank's mean; a row a size.
 *
 *   collectives NAME LEAST_BYTES MOST_BYTES SECONDS_A_SIZE
 *
 * Bytes are what nccl-tests calls the size: of the message, or of all blocks together. Elements are floats. Results are checked once a size. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FACTOR = 4, LEAST_CALLS = 5, MOST_CALLS = 100000 };

static int rank, ranks;
static float *given, *got;

static float input(int of, size_t index) { return (float)((of + 1) * (int)(index % 7)); }

static float sum(size_t index) { return (float)(ranks * (ranks + 1) / 2 * (int)(index % 7)); }

/* One call on `count` elements: of the message, or of each block. */
static void call(const char *name, int count) {
  MPI_Comm all = MPI_COMM_WORLD;
  if (!strcmp(name, "all_reduce")) MPI_Allreduce(given, got, count, MPI_FLOAT, MPI_SUM, all);
  else if (!strcmp(name, "reduce")) MPI_Reduce(given, got, count, MPI_FLOAT, MPI_SUM, 0, all);
  else if (!strcmp(name, "broadcast")) MPI_Bcast(rank ? got : given, count, MPI_FLOAT, 0, all);
  else if (!strcmp(name, "reduce_scatter")) MPI_Reduce_scatter_block(given, got, count, MPI_FLOAT, MPI_SUM, all);
  else if (!strcmp(name, "all_gather")) MPI_Allgather(given, count, MPI_FLOAT, got, count, MPI_FLOAT, all);
  else if (!strcmp(name, "gather")) MPI_Gather(given, count, MPI_FLOAT, got, count, MPI_FLOAT, 0, all);
  else if (!strcmp(name, "scatter")) MPI_Scatter(given, count, MPI_FLOAT, got, count, MPI_FLOAT, 0, all);
  else if (!strcmp(name, "all_to_all")) MPI_Alltoall(given, count, MPI_FLOAT, got, count, MPI_FLOAT, all);
  else if (!strcmp(name, "barrier")) MPI_Barrier(all);
  else MPI_Abort(all, 2);
}

/* What the output should hold at `index` after a call on `count` elements; whether it should hold anything. */
static int expected(const char *name, size_t count, size_t index, float *value) {
  size_t block = count ? index / count : 0, within = count ? index % count : 0;
  if (!strcmp(name, "all_reduce") || (!strcmp(name, "reduce") && rank == 0)) return *value = sum(index), index < count;
  if (!strcmp(name, "broadcast") && rank) return *value = input(0, index), index < count;
  if (!strcmp(name, "reduce_scatter")) return *value = sum(rank * count + index), index < count;
  if (!strcmp(name, "all_gather") || (!strcmp(name, "gather") && rank == 0)) return *value = input((int)block, within), 1;
  if (!strcmp(name, "scatter")) return *value = input(0, rank * count + index), index < count;
  if (!strcmp(name, "all_to_all")) return *value = input((int)block, rank * count + within), 1;
  return 0;
}

static double seconds_a_call(const char *name, int count, long calls) {
  MPI_Barrier(MPI_COMM_WORLD);
  double began = MPI_Wtime(), mine, slowest;
  for (long made = 0; made < calls; made++) call(name, count);
  mine = (MPI_Wtime() - began) / (double)calls;
  MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return slowest;
}

int main(int argc, char **argv) {
  if (argc != 5) return fprintf(stderr, "usage: collectives NAME LEAST_BYTES MOST_BYTES SECONDS_A_SIZE\n"), 2;
  const char *name = argv[1];
  size_t least = strtoull(argv[2], 0, 10), most = strtoull(argv[3], 0, 10);
  double budget = atof(argv[4]);
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  int blocks = strcmp(name, "all_reduce") && strcmp(name, "reduce") && strcmp(name, "broadcast") ? ranks : 1;
  int barrier = !strcmp(name, "barrier");
  size_t room = (most + 4096) / 4096 * 4096 + 4096;
  given = aligned_alloc(4096, room), got = aligned_alloc(4096, room);
  if (!given || !got) MPI_Abort(MPI_COMM_WORLD, 1);
  for (size_t index = 0; index < room / 4; index++) given[index] = input(rank, index), got[index] = -1;
  for (size_t bytes = barrier ? 0 : least; bytes <= (barrier ? 0 : most); bytes *= FACTOR) {
    size_t count = bytes / 4 / (size_t)blocks;
    double trial = seconds_a_call(name, (int)count, LEAST_CALLS);
    long calls = (long)(budget / trial);
    calls = calls < LEAST_CALLS ? LEAST_CALLS : calls > MOST_CALLS ? MOST_CALLS : calls;
    double each = seconds_a_call(name, (int)count, calls);
    for (size_t index = 0; index < count * (size_t)blocks; index++) {
      float value;
      if (expected(name, count, index, &value) && got[index] != value) {
        fprintf(stderr, "rank %d: %s of %zu bytes is wrong at %zu\n", rank, name, bytes, index);
        MPI_Abort(MPI_COMM_WORLD, 1);
      }
    }
    if (!rank) printf("%zu %.3f\n", bytes, each * 1e6), fflush(stdout);
    if (barrier) break;
  }
  return MPI_Finalize();
}
