//! Ticket numbers: encoded in the QR code and looked up at the door.

use sha2::{Digest, Sha256};
use tickets::Ticket;

/// Crockford's base 32: no letter resembles a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARACTERS: usize = 12;
const GROUP: usize = 4;

/// `T-` and three groups of four characters: 60 bits of a digest over order, concert and seat.
/// Deterministic.
pub(crate) fn of(ticket: &Ticket) -> String {
    let Ticket { order, concert, seat, .. } = ticket;
    let mut digest = Sha256::new();
    for field in [order, &concert.id, &seat.section, &seat.row, &seat.number.to_string()] {
        digest.update((field.len() as u64).to_be_bytes());
        digest.update(field);
    }
    let bits =
        digest.finalize().iter().take(8).fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    let mut number = String::from("T");
    for position in 0..CHARACTERS {
        if position % GROUP == 0 {
            number.push('-');
        }
        let index = (bits >> (59 - 5 * position)) & 31;
        // Five bits index all 32 characters.
        number.extend(ALPHABET.get(index as usize).copied().map(char::from));
    }
    number
}
