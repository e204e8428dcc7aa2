package io.extauthz.quarkus.runtime;

import io.quarkus.arc.runtime.BeanContainer;
import io.quarkus.runtime.annotations.Recorder;
import java.util.List;

/** Brings what the build found to the running application. */
@Recorder
public class ExtauthzRecorder {

    /** Makes a recorder. */
    public ExtauthzRecorder() { }

    /**
     * Hands over the endpoints.
     *
     * @param beans the beans of the application
     * @param scanned what the build found
     */
    public void endpoints(BeanContainer beans, List<ScannedEndpoint> scanned) {
        beans.beanInstance(DeclaredEndpoints.class).set(scanned);
    }
}
