"""Operations on a running system: lag, offsets, dead letters, retention."""
