use std::mem::{MaybeUninit, size_of};

/// Types that are their bytes.
///
/// # Safety
///
/// The type is `repr(C)`, has no padding, holds no pointer and is valid for every pattern of bits.
pub(crate) unsafe trait Plain: Copy {}

/// The bytes of `value`, as the kernel takes keys and values.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    let start = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: `start` is valid for reads of the whole of `value` for the borrow that the result has; a `Plain` has no
    // padding, so that every byte is initialised; u8 needs no alignment; nothing writes while it is borrowed.
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }
}

/// The same, to be written.
pub(crate) fn bytes_of_mut<T: Plain>(value: &mut T) -> &mut [u8] {
    let start = std::ptr::from_mut(value).cast::<u8>();
    // SAFETY: as for `bytes_of`; the borrow is exclusive, and whatever is written is a valid `Plain`.
    unsafe { std::slice::from_raw_parts_mut(start, size_of::<T>()) }
}

/// The value whose bytes these are; `None` when there are too few or too many.
pub(crate) fn from_bytes<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: both are valid for `size_of::<T>()` bytes, the lengths were compared, and a fresh local overlaps nothing.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast::<u8>(), bytes.len());
    }
    // SAFETY: every byte was written, and a `Plain` is valid for every pattern of bits.
    Some(unsafe { value.assume_init() })
}

/// A value of zeros, as the kernel's maps begin.
pub(crate) const fn zeroed<T: Plain>() -> T {
    // SAFETY: a `Plain` is valid for every pattern of bits.
    unsafe { MaybeUninit::<T>::zeroed().assume_init() }
}

// SAFETY: an integer.
unsafe impl Plain for u64 {}
