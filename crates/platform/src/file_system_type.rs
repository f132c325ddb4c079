//! Types of file systems.

/// Type of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystemType {
    /// Name, such as `ext4`. `None` if the type is not known here.
    pub name: Option<String>,
    /// True if other machines or programs may change the content without this kernel.
    pub is_shared: bool,
}
