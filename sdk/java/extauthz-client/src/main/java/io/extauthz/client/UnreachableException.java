package io.extauthz.client;

/**
 * No answer, after every attempt; the message says of which address and why.
 *
 * <p>What was asked may or may not have been done.
 */
public class UnreachableException extends ExtauthzException {

    private static final long serialVersionUID = 1L;

    /**
     * Takes what happened.
     *
     * @param message the address, and why there is no answer
     */
    public UnreachableException(String message) {
        super(message);
    }

    /**
     * Takes what happened and its cause.
     *
     * @param message the address, and why there is no answer
     * @param cause the cause; may be null
     */
    public UnreachableException(String message, Throwable cause) {
        super(message, cause);
    }
}
