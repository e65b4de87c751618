//! Choosing an algorithm: what each one costs, and how to tell which you want.
//!
//! serried chooses by itself, for every collective and size of message, by what it measured. Read on to understand a choice,
//! to override it, or to compare.
//!
//! # How it is chosen
//!
//! 1. **It measures.** Before the first call of a communicator of 2 to 64 ranks, two ranks of a host exchange messages while all others sleep, then two of different
//!    hosts: that tells what a message takes on its way, what it costs the threads at its ends, and what a byte does. Neighbours do so all at once: that tells what is lost where ranks
//!    are more than cores. Then hosts meet at distances of 1, 2, 4, …, first by one rank of each, then by all that have a partner there: that tells what ranks of a host share on their way out, and which host is
//!    slow. Then all ranks make calls, small and large ones by up to seven algorithms that may be the best, or large ones by the best alone where they take long: what the small ones take longer than
//!    their messages do is put on latencies (that is waiting for threads, which goes on while what a host's ranks share carries bytes: only what exceeds that is added), and what the large ones do on bytes, for each algorithm that was tried, and the middle of that for all other calls. Before each of these, ranks that share a processor while
//!    another has two fewer go there, by an affinity that is set and taken back at once: Linux takes a tenth of a second to see that, and calls take up to twice as long until it does. Seventy milliseconds after measuring began (in proportion of the doublings beyond 16
//!    ranks) no more rounds of calls are begun. Where all ranks share a host's memory, the two ways of an allreduce there are run at up to nine sizes instead of all this, and
//!    up to eleven ranks also exchange blocks, and two broadcast, once read from where they lie and once carried through slots.
//! 2. **It prices.** Every algorithm that serves a collective, with its usual slices and with finer ones, is run in virtual time on what was measured: the very schedule that
//!    the engine would run, with a thread to each rank, so many cores to a machine, one way in and out to each host, slots that must be free before they are
//!    filled. Nine sizes stand for all up to the next. Each rank prices its share of all these, but for those that by the work of their ranks and the bytes of their hosts alone take clearly longer than the best so far: together 4 to 7 ms of a core (Zen 5) among 4 ranks, 18 to 33 among 16, 0.2 s among 64. Prices within 5 % of each other are equal, for they are not finer;
//!    of such ways the one with the fewest links wins, as its links are never idle, and TCP begins cautiously on a link that was.
//! 3. **It keeps the best** in a table by size, the same on all ranks; a call looks up two indices, which takes 4 ns (`cargo bench --bench choice`). Rank 0 keeps what was measured and what came of it in
//!    `$XDG_CACHE_HOME/serried`, and the next job of the same ranks on the same hosts and processors with the same settings takes it from there for a day. A communicator made of another
//!    takes what is known of its links from that one.
//!
//! | say | to |
//! |---|---|
//! | `serried explain --ranks 4 --hosts 2` | see the choice for each size, the price of every other way, and what each is made of |
//! | `serried explain … --measure` | run all of them as well: what the choice costs beside the best, and how far the prices are off |
//! | `SERRIED_PROBE=anew` | measure again: the machine was busy, or the network is another one |
//! | `SERRIED_PROBE=off` | measure nothing and choose by fixed crossovers: the same in every job |
//! | `SERRIED_ALGO=ring`, `^tree`, `allreduce:ring,nhr;broadcast:^chain` | say what may run; the best of it does. Strict: what cannot be honoured is an error |
//!
//! What that gave on two cores of an AMD EPYC (Zen 5), in a virtual machine: what the choice takes beyond the best of all ways, the mean over the sizes and the worst,
//! and how many predictions of ways within twice the best were right to 30 %. All hosts are on those two cores. Each number is the median of five runs, in each of which all was
//! measured anew; one half of a run's rounds says which way is the best, and the other what it takes, so that a choice as good as the best may come out a little below 0.
//!
//! | allreduce, up to 4 MiB | this | without measuring | always the ring | ring or tree by constants | right |
//! |---|---|---|---|---|---|
//! | 2 ranks in shared memory | 2 %, 16 % | 3 %, 18 % | 7 %, 22 % | 7 %, 22 % | 93 % |
//! | 4 ranks in shared memory | 0 %, 0 % | 0 %, 0 % | 131 %, 260 % | 131 %, 260 % | 100 % |
//! | 2 ranks, as if on 2 hosts | 0 %, 3 % | 4 %, 16 % | 41 %, 95 % | 41 %, 95 % | 98 % |
//! | 4 ranks, as if on 2 hosts | 1 %, 6 % | 60 %, 171 % | 196 %, 398 % | 83 %, 147 % | 100 % |
//! | 2 ranks on each of 2 hosts of 1 Gb/s | 1 %, 3 % | 68 %, 103 % | 121 %, 314 % | 95 %, 164 % | 100 % |
//! | 4 ranks on 4 hosts of 1 Gb/s | 0 %, 5 % | 1 %, 2 % | 49 %, 206 % | 49 %, 98 % | 97 % |
//! | 4 ranks over TCP in one host, twice as many as cores | 5 %, 22 % | 45 %, 193 % | 101 %, 190 % | 101 %, 190 % | 86 % |
//!
//! Single runs vary: in order, means were -2 to 4, 0, -1 to 3, 0 to 2, 0 to 3, 0 to 1 and 1 to 8 %, worst sizes up to 22, 0, 15, 10, 14, 7 and 29 %, and of predictions 93 to 100, 100, 90 to 100, 96 to 100, 15 to 100, 96 to 98 and 71 to 97 % were right. (In the run of 15 %
//! one host's stream was disturbed: all ways came out too slow alike, and the choice was 1 % off the best at worst.) Where four ranks share two cores over TCP, Linux now and then leaves three of them on one for a tenth of a second, and everything takes up to twice as long.
//!
//! Until all was measured and priced, it took the last rank (medians of five runs) 0.03 to 0.04 s in shared memory (2 and 16 ranks), 0.06 s with four ranks over TCP or as if on two hosts, 0.07 at 1 Gb/s, and with 16 ranks on those two cores 0.100 over TCP (0.097 to 0.107, of which 0.015 are pricing) and 0.090 as if on
//! four hosts (0.087 to 0.092).
//!
//! At 1 Gb/s, of which TCP carries 0.1196 GB/s, an allreduce of four ranks on four hosts has a bus bandwidth of 0.1178 GB/s at 1 MiB and 0.119 from 2 MiB on (nccl-tests'), and one of 8 KiB takes 0.14 to 0.34 ms. With two
//! ranks on each of two hosts, 1 to 16 MiB take 1 to 3 % longer than the message takes once over the wire, which is the least that must go there. With two such cables a host, both carry: 0.238 GB/s.
//!
//! A choice is only as good as what was measured. A machine that was disturbed meanwhile, or on which ranks that are not bound then run on other cores, makes poor ones for a day: `serried explain --measure` tells, `SERRIED_PROBE=anew` mends.
//!
//! # What an allreduce costs
//!
//! Take `n` ranks and a message of `S` bytes. A hop takes `α` seconds however little it carries, a link moves `B` bytes a second in
//! each direction, and reducing a byte takes `γ`. No algorithm beats any of three bounds: `⌈log2 n⌉·α`, because news spreads by
//! doubling; `2(n−1)/n·S/B`, because each part of the message must reach somebody who reduces it and come back; and `(n−1)/n·S·γ`.
//!
//! | name | time | strong when |
//! |---|---|---|
//! | `direct` | `α + (n−1)·(S/B + S·γ)` | the message is tiny and the ranks are few: one hop |
//! | `twoshot` | `2·α + 2(n−1)/n·S/B + (n−1)/n·S·γ` | ranks reach each other without sharing a bottleneck, as in one host |
//! | `doubling` | `log2 n·(α + S/B + S·γ)` | the message is small and `direct` would send too many |
//! | `halving` | `2·log2 n·α + 2(n−1)/n·S/B + (n−1)/n·S·γ` | the message is of middle size and `n` is a power of two |
//! | `nhr` | `2·⌈log2 n⌉·α`, and the other terms of `halving` | the same, for any `n` |
//! | `tree` | about `2·log2 n·α + 2·S/B`, and the time to fill the pipeline | `n` is high and the message not small |
//! | `ring` | `2(n−1)·α`, and the other terms of `halving` | the message is large: it only talks to neighbours |
//!
//! `doubling` and `halving` on a number of ranks that is no power of two fold the extra ranks in and out, which costs them two more
//! hops and `2·S/B`: this is what `nhr` avoids.
//!
//! So: latency counts while `S` is far below `α·B`, and then few hops win; bandwidth counts far above it, and then the algorithms
//! with the factor `2(n−1)/n` win, whichever loads the slowest link least. Between them measure.
//!
//! # The other collectives
//!
//! | collective | small | large |
//! |---|---|---|
//! | broadcast, reduce | `binomial`: ⌈log2 n⌉ hops | `chain`: the slices of one message follow each other along all ranks, `S/B` and the time to fill the chain; `scattergather`: `2·S/B` however long the chain would be |
//! | reduce_scatter, all_gather | `nhr`: ⌈log2 n⌉ hops; with two ranks `direct` | `ring`: `(n−1)/n·S/B`, `S` being all blocks together |
//! | gather, scatter | `binomial` | `direct`: the root's link is the bound, and nothing is forwarded |
//! | all_to_all | `bruck`: ⌈log2 n⌉ rounds, each block travels about log2(n)/2 times | `direct`: pairs in turn |
//! | barrier | `nhr` | |
//!
//! Ranks of one host that share memory take one way for each of these, in exchanges through the memory, whatever the name. `SERRIED_ALGO` counts for the collectives that the
//! algorithm serves.
//!
//! # Ranks that share hosts
//!
//! Between hosts a byte costs more than inside, so what can be done inside is. Of `K` hosts, the smallest of `s` ranks, and counting only what goes between hosts:
//!
//! | name | collectives | time | strong when |
//! |---|---|---|---|
//! | `leaders` | allreduce, broadcast, reduce | `⌈log2 K⌉·(α + S/B)`, for the allreduce one more if `K` is no power of two | the message is small: one rank speaks for each host |
//! | | reduce_scatter, all_gather, barrier | `⌈log2 K⌉·α + (K−1)/K·S/B` | the blocks are small, and ranks are numbered host by host |
//! | `hierarchical` | allreduce | `2·⌈log2 K⌉·α + 2(K−1)/K·S/(s·B)` | the message is large: every rank carries a part of it |
//! | | broadcast, reduce | `S/(s·B)`, and the time to fill a chain of hosts | the same |
//! | | reduce_scatter, all_gather | `(K−1)·α`, and the other hosts' blocks over `s` ranks | the same |
//!
//! `B` is what one rank moves between hosts. Hosts may differ in size; the smallest sets the pace, since it has to carry as much as any other. Where one is far smaller than the
//! others, `hierarchical` cuts its blocks finely for a reduce_scatter and an all_gather: `ring` may then be the better one. Where ranks are not numbered host by host,
//! `leaders` sends each block in a message of its own.
//!
//! Two hosts of two ranks, for instance, send each other a message of an allreduce once each way, where a `ring` sends it one and a half times, or three times if
//! neighbours are never on one host.
//!
//! # Which bits come out
//!
//! Every algorithm ends with the same bits on all ranks, and with the same bits when run again. A job that measures may choose another algorithm than the last one did: for the same
//! bits in every job, `SERRIED_PROBE=off`, or `SERRIED_ALGO` with one algorithm. Between algorithms the bits of a floating
//! point sum may differ, because the sum is taken in another order. `direct` and `twoshot` both fold strictly in the order of ranks,
//! `((x0 + x1) + x2) + …`, so these two agree with each other to the bit, on every transport.
//!
//! # Comparing
//!
//! ```text
//! serried perf all_reduce --ranks 4 --algo ring
//! serried perf all_reduce --ranks 4 --algo nhr
//! ```
//!
//! The header of `serried perf` says how the cores were placed: compare only runs with the same placement, for the time of a small message
//! differs by a factor of five between cores that share a cache and cores that do not. `time` is what decides; `busbw` puts it into
//! proportion, since it does not fall with `n` for an algorithm that reaches the bandwidth bound.
//!
//! An algorithm's name is part of every call's description. Ranks that are set to different ones get an error that names both calls.
