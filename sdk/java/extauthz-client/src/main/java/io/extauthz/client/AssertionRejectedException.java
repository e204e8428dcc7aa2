package io.extauthz.client;

/**
 * A request without a valid {@code x-auth-assertion}; the message says why, and never quotes the assertion.
 */
public class AssertionRejectedException extends ExtauthzException {

    private static final long serialVersionUID = 1L;

    /**
     * Takes what happened.
     *
     * @param message why the request was refused
     */
    public AssertionRejectedException(String message) {
        super(message);
    }
}
