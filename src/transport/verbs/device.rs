//! Looking at the devices of this machine, as far as the settings want them; choosing among them is `choice`'s.

use super::choice::{Choice, NOT_WANTED, PassedOver, Port, choose};
use super::settings::VerbsSettings;
use super::sys::{Context, DeviceAttributes, Failure, Unavailable, devices};

/// A device that was opened and asked.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// What it can do.
    pub attributes: DeviceAttributes,
    /// Those of its ports that answered.
    pub ports: Vec<Port>,
}

/// What was found on this machine, and what comes of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The devices that were looked at.
    pub devices: Vec<Device>,
    /// What can be used of them, and why nothing else can.
    pub choice: Choice,
}

/// Looks at every device that the settings do not leave out, and chooses. A device that cannot be opened or asked is passed over, with what it said.
///
/// # Errors
/// [`Unavailable`] if there are no verbs in this process at all: the reason, in one line.
pub fn survey(settings: &VerbsSettings) -> Result<Choice, Unavailable> {
    look(settings).map(|found| found.choice)
}

/// As [`survey`], and tells what was looked at.
///
/// # Errors
/// As [`survey`].
pub fn look(settings: &VerbsSettings) -> Result<Found, Unavailable> {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for name in devices()? {
        match look_at_device(&name, settings) {
            Ok((device, troubles)) => {
                found.extend(device);
                failed.extend(troubles);
            }
            Err(failure) => failed.push(PassedOver { what: name, why: failure.to_string() }),
        }
    }
    let ports: Vec<_> = found.iter().flat_map(|device: &Device| device.ports.iter().cloned()).collect();
    let mut choice = choose(&ports, settings);
    choice.passed_over.extend(failed);
    Ok(Found { devices: found, choice })
}

/// Looks at one port of an open device: again, when the device has said that something changed.
///
/// # Errors
/// As the device says.
pub fn look_at(context: &Context, number: u8) -> Result<Port, Failure> {
    let attributes = context.port(number)?;
    let gids = context.gid_table(number)?;
    Ok(Port { device: context.device().to_owned(), number, attributes, gids })
}

/// A device if it is wanted, and what was wrong with those of its ports that could not be asked.
fn look_at_device(name: &str, settings: &VerbsSettings) -> Result<(Option<Device>, Vec<PassedOver>), Failure> {
    let wants = |port| settings.devices.as_ref().is_none_or(|filter| filter.place(name, port).is_some());
    let (mut ports, mut troubles) = (Vec::new(), Vec::new());
    // Opening a device takes milliseconds and memory: one that is not wanted is left alone.
    if !(1..=u8::MAX).any(wants) {
        return Ok((None, vec![PassedOver { what: name.to_owned(), why: NOT_WANTED.into() }]));
    }
    let context = Context::open(name)?;
    let attributes = context.attributes()?;
    for number in 1..=attributes.ports {
        match look_at(&context, number) {
            Ok(port) => ports.push(port),
            Err(failure) => {
                troubles.push(PassedOver { what: format!("{name} port {number}"), why: failure.to_string() });
            }
        }
    }
    Ok((Some(Device { name: name.to_owned(), attributes, ports }), troubles))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_looked_at() {
        let settings = VerbsSettings::default();
        let choice = match survey(&settings) {
            Ok(choice) if !choice.usable.is_empty() => choice,
            Ok(choice) => return println!("skipped: verbs: {}", choice.why_none()),
            Err(why) => return println!("skipped: verbs: {why}"),
        };
        choice.usable.iter().for_each(|selection| println!("usable: {selection:?}"));
        choice.passed_over.iter().for_each(|other| println!("passed over: {other}"));
        let first = &choice.usable[0];
        let again = look_at(&Context::open(&first.device).expect("it was opened before"), first.port);
        let (selection, _) = again.expect("it was asked before").select(&settings).expect("it worked before");
        assert_eq!(selection, *first);

        let filter = format!("^={}", first.device).parse().expect("a filter");
        let choice = survey(&VerbsSettings { devices: Some(filter), ..settings.clone() }).expect("it worked before");
        assert!(choice.usable.iter().all(|selection| selection.device != first.device));
        assert!(choice.passed_over.iter().any(|o| o.what == first.device && o.why == NOT_WANTED), "{choice:?}");

        let nothing_there = survey(&VerbsSettings { gid_index: Some(199), ..settings }).expect("it worked before");
        assert_eq!(nothing_there.usable, []);
        assert!(nothing_there.why_none().contains("there is no GID at index 199"), "{}", nothing_there.why_none());
        println!("{}", nothing_there.why_none());
    }
}
