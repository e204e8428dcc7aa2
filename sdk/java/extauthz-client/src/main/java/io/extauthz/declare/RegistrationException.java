package io.extauthz.declare;

import io.extauthz.client.ExtauthzException;

/** The registration failed, and the application is configured to start only with it. */
public class RegistrationException extends ExtauthzException {

    private static final long serialVersionUID = 1L;

    /**
     * Takes what failed.
     *
     * @param message what failed, and what is to be done
     * @param cause the cause; may be null
     */
    public RegistrationException(String message, Throwable cause) {
        super(message, cause);
    }
}
