package io.extauthz.client;

/** Anything that went wrong between the caller and the API. No text of it holds a secret or a token. */
public class ExtauthzException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    /**
     * Takes what went wrong.
     *
     * @param message what was found, where, and what is right
     */
    public ExtauthzException(String message) {
        super(message);
    }

    /**
     * Takes what went wrong and its cause.
     *
     * @param message what was found, where, and what is right
     * @param cause the cause; may be null
     */
    public ExtauthzException(String message, Throwable cause) {
        super(message, cause);
    }
}
