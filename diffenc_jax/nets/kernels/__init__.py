"""Operations whose best form depends on the platform, one module each; `forms` has the choice."""
