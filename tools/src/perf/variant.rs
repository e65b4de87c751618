//! What is measured in turn in one run: transports and algorithms.

use serried::schedule::Algorithm;
use serried::tune::Allowed;
use serried::{Config, Probe, TransportChoice};

/// One way of doing the same calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// `None` is what the environment says.
    pub(crate) transport: Option<TransportChoice>,
    /// `None` is what the environment says, `Some(None)` auto whatever it says.
    pub(crate) algorithm: Option<Option<Algorithm>>,
}

impl Variant {
    /// The settings of a communicator that does it so.
    pub(crate) fn config(&self, config: &Config) -> Config {
        let mut config = config.clone();
        config.transport = self.transport.unwrap_or(config.transport);
        match self.algorithm {
            None => {}
            Some(None) => config.algorithms = Allowed::default(),
            Some(Some(algorithm)) => {
                config.algorithms = algorithm.into();
                // There is nothing to choose, so nothing to measure for it.
                config.probe = Probe::Off;
            }
        }
        config
    }

    /// The algorithm's name, if one is set.
    pub(crate) fn algorithm(&self) -> Option<&'static str> {
        self.algorithm.map(|algorithm| algorithm.map_or("auto", Algorithm::name))
    }

    /// The transport's name, if one is set.
    pub(crate) fn transport(&self) -> Option<&'static str> {
        self.transport.map(TransportChoice::name)
    }

    /// Both, in words.
    pub(crate) fn name(&self) -> String {
        let algorithm = self.algorithm().unwrap_or("auto");
        self.transport().map_or_else(|| algorithm.to_owned(), |transport| format!("{algorithm} over {transport}"))
    }
}
