//! Debugging a stuck job: from an error or a hang to the rank and the cause.
//!
//! A job of many ranks stops as a whole when one of them stops. serried's part is to say which one: every wait has a deadline, and
//! every error names ranks and the operation. Collect the *first* error of each rank; later ones only repeat that the communicator is broken.
//!
//! # Read the error
//!
//! * [`Error::Peer`](crate::Error::Peer): a rank failed, and `peer` is its number. The [cause](crate::Cause) says how:
//!   * *died*: its process ended. Look at that process: its own output, the kernel's log (out of memory), the scheduler's.
//!   * *silent*: its process stands but nothing comes from it. It is stopped (a debugger, a frozen container), its host hangs, or the
//!     network between drops everything.
//!   * *left*: it ended its work in order while others still called. Its program made fewer calls; compare the loops.
//!   * *link*: both processes live but the way between them broke, which the transport's words explain. If many links of one host
//!     break, look at that host's cable or port.
//!   * *reported*: it met an error of its own and said so: the text is that error. It is the reporter, not always the culprit; the text
//!     names who disagreed or was waited for.
//! * [`Error::Mismatch`](crate::Error::Mismatch): two ranks called different operations: another kind, count, type, operator,
//!   algorithm, or the same one a call earlier. The message shows both calls. The number after `#` counts the calls on the communicator: if it
//!   differs, one rank made a call that the other skipped, usually in a branch that depends on data or rank.
//! * [`Error::Timeout`](crate::Error::Timeout): all ranks live, but the operation did not end. `peer` is the rank that was waited for
//!   or, if that one has said that it waits in this call too (as ranks do after half a second), the lowest that has not: most often one that did not
//!   come. It may also be one that has done its part and gone on. The rank whose time was up first reports, and the others repeat it.
//!   Look where the named rank stands (below).
//! * [`Error::Missing`](crate::Error::Missing): ranks that did not come in time while joining, by number. Were they started? Do they
//!   have the same unique id and the same number of ranks?
//! * [`Error::Unreachable`](crate::Error::Unreachable): this rank could not speak to the rendezvous. `address` is what it tried:
//!   if that is an address of the wrong network, choose the interface ([variables](super::environment_variables)); if it is right,
//!   suspect a firewall.
//! * [`Error::System`](crate::Error::System): the system refused memory, descriptors or sockets; it says what was tried and why not.
//!
//! # If nothing is reported
//!
//! Then no deadline has passed yet, or the ranks are not inside serried. Look where one rank stands:
//!
//! ```text
//! cat /proc/PID/wchan          # what it sleeps in, if it sleeps
//! gdb -p PID -batch -ex 'thread apply all bt'
//! ```
//!
//! A rank outside of serried's functions is your answer: it has not come to the call, and the others wait for it. If all are inside, wait
//! for the operation timeout: its error names who was waited for.
//!
//! # One slow rank
//!
//! A job that is slow rather than stuck often waits for one rank in every call. Time each rank's *own* work between calls, not the call:
//! everybody's call takes as long as the slowest rank is late, and the late one's call is the shortest.
