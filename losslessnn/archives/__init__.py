"""The ``.lnn`` archive: a file of frames that restores one original file byte for byte.

    header   what the file was called and how its bytes are put together
    frames   the encoded arrays, one after the other
    index    where each frame lies, and the checksum of the original file
    footer   where the index lies

`docs/FORMAT.md` specifies the bytes. `format` and `packed_layout` read and write all of them but the frames;
`parts` finds them in a `file`; `archive` and `stored_array` read samples; `writing` makes archives;
`original` makes the bytes of the original file again, for `restoring` and `verifying`; `arrays` makes files
that numpy reads.
"""
