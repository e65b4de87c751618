//! One body of tests, run over every transport: what a link promises, and what the engine makes of it. Must not know how any of
//! them works; [`worlds`] makes their links and nothing more.

mod engine;
mod interpreter;
mod link;
mod room;
mod worlds;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use worlds::{Shm, Sim, Tcp, Verbs};

/// The bodies as tests of one module for each world. A world that this machine has not got is `None`, and has said so.
macro_rules! over_every_transport {
    ($($name:ident: $world:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn messages_arrive_whole_and_in_order() {
                let Some(mut world) = $world else { return };
                (0..link::SEEDS).for_each(|seed| link::messages_arrive_whole_and_in_order(&mut world, seed));
            }

            #[test]
            fn a_lane_stops_at_its_credit_and_holds_up_no_other() {
                let Some(mut world) = $world else { return };
                link::a_lane_stops_at_its_credit_and_holds_up_no_other(&mut world);
            }

            #[test]
            fn what_is_lent_can_be_taken_in_whole_elements() {
                let Some(mut world) = $world else { return };
                (0..link::SEEDS).for_each(|seed| link::what_is_lent_can_be_taken_in_whole_elements(&mut world, seed));
            }

            #[test]
            fn every_algorithm_gives_the_bits_of_its_schedule() {
                let Some(mut world) = $world else { return };
                (2..=engine::RANKS_MAX).for_each(|ranks| engine::every_algorithm_gives_the_bits_of_its_schedule(&mut world, ranks));
            }
        }
    )*};
}

over_every_transport! {
    shm: Some(Shm);
    tcp_1_socket: Some(Tcp::new(1, IpAddr::V4(Ipv4Addr::LOCALHOST)));
    tcp_3_sockets: Some(Tcp::new(3, IpAddr::V4(Ipv4Addr::LOCALHOST)));
    tcp_narrow_sockets: Some(Tcp::new(3, IpAddr::V4(Ipv4Addr::LOCALHOST)).narrow());
    tcp_v6: Tcp::where_there_is("tcp_v6", 1, IpAddr::V6(Ipv6Addr::LOCALHOST));
    verbs: Verbs::where_there_is(1);
    verbs_3_queue_pairs: Verbs::where_there_is(3);
    sim: Some(Sim::new(1));
    sim_of_another_seed: Some(Sim::new(2));
    sim_without_pieces: Some(Sim::new(3).whole());
}

/// Reproducible random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
