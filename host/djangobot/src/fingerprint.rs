//! A fast hash of bytes that is the same on every machine and in every version, because hashes are stored in the state.

use std::hash::Hasher;

/// Hashes bytes to 64 bits: FNV-1a over 8-byte words. It is not for security: anybody can make two texts with one hash.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    // The constants are those of FNV-1a with 64 bits: the offset here, the prime below.
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(bytes);
    hash.finish()
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Words of 8 bytes are hashed instead of single bytes, which is several times faster.
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.0 = (self.0 ^ u64::from_le_bytes(padded)).wrapping_mul(0x0100_0000_01b3);
            self.0 ^= self.0 >> 29;
        }
        // The length distinguishes texts that differ only in zeros at their ends.
        self.0 = (self.0 ^ bytes.len() as u64).wrapping_mul(0x0100_0000_01b3);
    }
}
