//! Whole programs over real RoCE devices, good and bad: run in the guest of `tools/softroce`, whose cables and links the tests change. Elsewhere
//! what needs a device says that it is skipped. One test at a time: they share the devices.

mod guest;
mod links;
mod mixed;
mod probe;
mod programs;
