package io.extauthz.spring;

import io.extauthz.declare.RegistrationException;
import org.springframework.boot.diagnostics.AbstractFailureAnalyzer;
import org.springframework.boot.diagnostics.FailureAnalysis;
import org.springframework.boot.diagnostics.FailureAnalyzer;
import io.extauthz.client.ExtauthzException;

/** Describes why an application does not start: a secret in a file, a setting, a declaration, a registration. */
class ExtauthzFailureAnalyzer extends AbstractFailureAnalyzer<ExtauthzException> implements FailureAnalyzer {

    @Override
    protected FailureAnalysis analyze(Throwable rootFailure, ExtauthzException cause) {
        if (cause instanceof ExtauthzConfigurationException wrong) {
            return new FailureAnalysis(wrong.getMessage(), wrong.action(), cause);
        }
        if (cause instanceof RegistrationException) {
            return new FailureAnalysis(
                    "The resources of the application are not registered: " + cause.getMessage(),
                    "Remove the cause, or set extauthz.registration.required=false to start without it and try again"
                            + " in the background.",
                    cause);
        }
        return null;
    }
}
