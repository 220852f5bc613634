//! Amounts: memory as Kubernetes writes it, and the units that customers pay for.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;
/// The CPU that one unit requests, in thousandths of a core (`wire.md` §4).
const CPU_MILLIS_PER_UNIT: u64 = 256;

/// A text that is no amount. Its `Display` is fit for customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a Kubernetes quantity in Mi or Gi.
    #[error("must be a memory size in Mi or Gi, such as 100Mi or 2Gi")]
    Memory,
    /// Not `<n>-Unit-Resource`.
    #[error("must be a number of units such as 2-Unit-Resource, from 1 to 1000")]
    Units,
}

/// An amount of memory: whole bytes, at least 1 MiB and at most 1 TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Memory(u64);

impl Memory {
    /// The amount in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// The CPU that goes with this memory, in thousandths of a core: 256m for each Gi, rounded up.
    pub fn cpu_millis(self) -> u64 {
        (self.0 * CPU_MILLIS_PER_UNIT).div_ceil(GI)
    }
}

impl FromStr for Memory {
    type Err = QuantityError;

    /// Reads `100Mi`, `2Gi` or `1.5Gi`; a part of one Mi counts as a whole one, so that every amount can be written again.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (digits, factor) = text
            .strip_suffix("Mi")
            .map(|digits| (digits, MI))
            .or_else(|| text.strip_suffix("Gi").map(|digits| (digits, GI)))
            .ok_or(QuantityError::Memory)?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let number = |text: &str| match text {
            text if text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) => Err(QuantityError::Memory),
            "" => Ok(0),
            text => text.parse::<u64>().map_err(|_| QuantityError::Memory),
        };
        if whole.is_empty() || (fraction.is_empty() && digits.contains('.')) {
            return Err(QuantityError::Memory);
        }
        let scale = 10_u64.pow(u32::try_from(fraction.len().min(9)).map_err(|_| QuantityError::Memory)?);
        let bytes = number(whole)? * factor + number(fraction)? * factor / scale;
        if (MI..=1024 * GI).contains(&bytes) {
            Ok(Self(bytes.next_multiple_of(MI)))
        } else {
            Err(QuantityError::Memory)
        }
    }
}

impl TryFrom<String> for Memory {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        // Amounts of before whole Mi were all that is read are kept in bytes.
        match text.parse::<u64>() {
            Ok(bytes) if (MI..=1024 * GI).contains(&bytes) => Ok(Self(bytes)),
            _ => text.parse(),
        }
    }
}

impl From<Memory> for String {
    fn from(memory: Memory) -> Self {
        memory.to_string()
    }
}

impl fmt::Display for Memory {
    /// In the largest unit that leaves no fraction, so that it reads back as the same amount.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes.is_multiple_of(GI) => write!(f, "{}Gi", bytes / GI),
            bytes if bytes.is_multiple_of(MI) => write!(f, "{}Mi", bytes / MI),
            bytes => write!(f, "{bytes}"),
        }
    }
}

/// Units of resource: each is 1 host port, 1 Gi of memory, 256m of CPU and, with storage, 8 Gi of volume (`wire.md` §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Units(NonZeroU32);

impl Units {
    /// The most units that one order can have: its host ports are reserved as one batch of the ledger, which takes as many.
    pub const MAX: u32 = 1000;

    /// How many units.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The units that are just this memory.
    pub fn of(memory: Memory) -> Option<Self> {
        let whole = memory.bytes().is_multiple_of(GI).then_some(memory.bytes() / GI)?;
        Self::try_from(u32::try_from(whole).ok()?).ok()
    }

    /// The memory of this many units.
    pub fn memory(self) -> Memory {
        Memory(u64::from(self.get()) * GI)
    }

    /// The volume of this many units, in Gi.
    pub fn volume_gi(self) -> u32 {
        self.get() * 8
    }

    /// The CPU request of this many units, in thousandths of a core.
    pub fn cpu_millis(self) -> u64 {
        self.memory().cpu_millis()
    }
}

impl TryFrom<u32> for Units {
    type Error = QuantityError;

    fn try_from(units: u32) -> Result<Self, QuantityError> {
        let units = NonZeroU32::new(units).filter(|units| units.get() <= Self::MAX);
        units.map(Self).ok_or(QuantityError::Units)
    }
}

impl From<Units> for u32 {
    fn from(units: Units) -> Self {
        units.get()
    }
}

impl FromStr for Units {
    type Err = QuantityError;

    /// Reads `<n>-Unit-Resource` without regard to case.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.strip_suffix("-unit-resource").ok_or(QuantityError::Units)?;
        digits.parse::<u32>().map_err(|_| QuantityError::Units)?.try_into()
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-Unit-Resource", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mi_and_gi_only() {
        for (text, bytes) in [
            ("100Mi", Some(100 * MI)),
            ("2Gi", Some(2 * GI)),
            ("1.5Gi", Some(3 * GI / 2)),
            ("0.1Gi", Some(103 * MI)),
            ("2.0001Gi", Some(2049 * MI)),
            ("0Mi", None),
            ("0.5Mi", None),
            ("100", None),
            ("100M", None),
            ("100mi", None),
            ("-1Gi", None),
            ("+1Gi", None),
            (".5Gi", None),
            ("1.Gi", None),
            ("1e3Mi", None),
            ("2000Gi", None),
            ("99999999999999999999Gi", None),
            ("", None),
            ("Gi", None),
        ] {
            assert_eq!(text.parse::<Memory>().ok().map(Memory::bytes), bytes, "{text}");
        }
    }

    #[test]
    fn cpu_follows_memory_and_is_never_zero() {
        for (text, millis) in [("1Gi", 256), ("2Gi", 512), ("100Mi", 25), ("1Mi", 1)] {
            assert_eq!(text.parse::<Memory>().unwrap().cpu_millis(), millis, "{text}");
        }
    }

    #[test]
    fn units_are_read_without_regard_to_case() {
        for (text, units) in [
            ("2-Unit-Resource", Some(2)),
            ("16-unit-RESOURCE", Some(16)),
            ("0-Unit-Resource", None),
            ("1001-Unit-Resource", None),
            ("two-Unit-Resource", None),
            ("2", None),
        ] {
            assert_eq!(text.parse::<Units>().ok().map(Units::get), units, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn printed_memory_reads_back(bytes in MI..1024 * GI) {
            let memory = Memory(bytes);
            proptest::prop_assert_eq!(Memory::try_from(memory.to_string()).unwrap(), memory);
        }
    }
}
