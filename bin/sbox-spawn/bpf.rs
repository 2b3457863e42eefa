//! The language of filters: the part of classic BPF that is used here (linux/filter.h, linux/seccomp.h), how it is written,
//! and what the kernel makes of it.

use libc::c_long;
use libsbox::sys::Instruction;

/// A question about an argument: its number, from 0, and a value. Only the low 32 bits are looked at: every argument here
/// is an int to the kernel.
#[derive(Debug, Clone, Copy)]
pub enum Test {
    Equal(u32, u32),
    Differs(u32, u32),
    /// Has any of these bits.
    Any(u32, u32),
    /// Has none of them.
    None(u32, u32),
}

pub const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
pub const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
pub const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
pub const GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
pub const ANY: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
pub const NUMBER: u32 = 0;
pub const ARCH: u32 = 4;
pub const ARGUMENTS: u32 = 16;

/// A filter that is being written.
pub struct Filter(pub Vec<Instruction>);

impl Filter {
    /// `answer`, where `number` is called and every test holds. The accumulator has the number before and after.
    pub fn when(&mut self, number: c_long, tests: &[Test], answer: u32) {
        // Two instructions a test, one answer, one to load the number again.
        let length = (2 * tests.len() + 2) as u8;
        self.0.push(jump(EQUAL, number as u32, 0, length));
        for (at, test) in tests.iter().enumerate() {
            // To the last instruction of this block.
            let past = length - 2 * at as u8 - 3;
            let (argument, question) = match *test {
                Test::Equal(argument, value) => (argument, jump(EQUAL, value, 0, past)),
                Test::Differs(argument, value) => (argument, jump(EQUAL, value, past, 0)),
                Test::Any(argument, bits) => (argument, jump(ANY, bits, 0, past)),
                Test::None(argument, bits) => (argument, jump(ANY, bits, past, 0)),
            };
            self.0.push(statement(LOAD, ARGUMENTS + 8 * argument));
            self.0.push(question);
        }
        self.0.push(statement(RETURN, answer));
        self.0.push(statement(LOAD, NUMBER));
    }
}

pub const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

pub fn statement(code: u32, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

pub fn jump(code: u32, k: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code: code as u16, jt: yes, jf: no, k }
}

/// What the kernel does with the filter: the part of classic BPF that is used here (linux net/core/filter.c). Nothing, if it
/// is not a filter of this module's.
pub fn answer(filter: &[Instruction], arch: u32, number: c_long, arguments: [u64; 6]) -> Option<u32> {
    let load = |offset: u32| match offset {
        NUMBER => Some(number as u32),
        ARCH => Some(arch),
        at => arguments.get((at.checked_sub(ARGUMENTS)? / 8) as usize).map(|argument| *argument as u32),
    };
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = *filter.get(at)?;
        let jump = |yes: bool| at + 1 + usize::from(if yes { jt } else { jf });
        at = match u32::from(code) {
            LOAD => {
                accumulator = load(k)?;
                at + 1
            }
            EQUAL => jump(accumulator == k),
            GREATER => jump(accumulator > k),
            ANY => jump(accumulator & k != 0),
            RETURN => return Some(k),
            _ => return None,
        };
    }
}
