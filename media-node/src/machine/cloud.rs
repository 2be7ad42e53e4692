//! What clouds promise for types of machines, as their public documentation says.
//!
//! A table of a few types that relays are likely to run on, to be widened with figures that have a source. Where a cloud
//! promises less towards the Internet than inside its own network, the lesser figure stands here: that is where
//! callers are.
//!
//! - Azure: the column "Expected network bandwidth" of the Fsv2 series and "Max network bandwidth" of the Dv5 and Dsv5
//!   series. Azure meters what is sent.
//! - AWS: baseline bandwidth of the C5 family. Through an internet gateway an instance has 5 Gbit/s, or half of its
//!   bandwidth from 32 vCPUs on, whichever is more (EC2 user guide, "Amazon EC2 instance network bandwidth").
//! - Google: none. What it promises towards the Internet depends on the networking tier, which the type does not tell.

const M: u64 = 1_000_000;

/// Bits a second, each way, in the order of the names.
const BASELINES: [(&str, u64); 32] = [
    ("c5.12xlarge", 6_000 * M),
    ("c5.18xlarge", 12_500 * M),
    ("c5.24xlarge", 12_500 * M),
    ("c5.2xlarge", 2_500 * M),
    ("c5.4xlarge", 5_000 * M),
    ("c5.9xlarge", 6_000 * M),
    ("c5.large", 750 * M),
    ("c5.xlarge", 1_250 * M),
    ("standard_d16_v5", 12_500 * M),
    ("standard_d16s_v5", 12_500 * M),
    ("standard_d2_v5", 12_500 * M),
    ("standard_d2s_v5", 12_500 * M),
    ("standard_d32_v5", 16_000 * M),
    ("standard_d32s_v5", 16_000 * M),
    ("standard_d48_v5", 24_000 * M),
    ("standard_d48s_v5", 24_000 * M),
    ("standard_d4_v5", 12_500 * M),
    ("standard_d4s_v5", 12_500 * M),
    ("standard_d64_v5", 30_000 * M),
    ("standard_d64s_v5", 30_000 * M),
    ("standard_d8_v5", 12_500 * M),
    ("standard_d8s_v5", 12_500 * M),
    ("standard_d96_v5", 35_000 * M),
    ("standard_d96s_v5", 35_000 * M),
    ("standard_f16s_v2", 12_500 * M),
    ("standard_f2s_v2", 5_000 * M),
    ("standard_f32s_v2", 16_000 * M),
    ("standard_f48s_v2", 21_000 * M),
    ("standard_f4s_v2", 10_000 * M),
    ("standard_f64s_v2", 28_000 * M),
    ("standard_f72s_v2", 30_000 * M),
    ("standard_f8s_v2", 12_500 * M),
];

/// Bits a second that a machine of this type is promised, each way. Clouds differ in how they write capitals.
pub fn baseline(machine_type: &str) -> Option<u64> {
    let name = machine_type.to_ascii_lowercase();
    BASELINES.iter().find(|(known, _)| *known == name).map(|(_, bits)| *bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_stands_once_and_is_found_in_any_case() {
        assert!(BASELINES.is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(baseline("Standard_F8s_v2"), Some(12_500 * M));
        assert_eq!(baseline("c5.large"), Some(750 * M));
        assert_eq!(baseline("c5"), None);
    }
}
