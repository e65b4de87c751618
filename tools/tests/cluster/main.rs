//! Whole programs on several hosts, as torchrun would start them there: network namespaces of this machine, with cables that are slow,
//! doubled or cut. Needs root, and iproute2; without either it says so and skips. One cluster at a time: they share the processors.

mod explained;
mod layouts;
mod parted;
mod rails;
mod runs;
mod spare;
mod speeds;
