package io.extauthz.client;

/** Whether an attribute policy decides. */
public enum Mode {
    /** It decides. */
    ENFORCE,
    /** Its result is recorded and does not decide. */
    SHADOW;

    /**
     * Returns the word of the API.
     *
     * @return the word, such as {@code enforce}
     */
    public String word() {
        return Words.of(this);
    }
}
