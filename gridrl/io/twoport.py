"""Two-port admittances of lines and transformers from their pi model.

    from --- ideal transformer (complex ratio) --+-- y_series --+--- to
                                                 |              |
                                               y_from          y_to

Source: MATPOWER User's Manual, eq. (3.1)-(3.4); PowSyBl and PSS/E use the same circuit with
the ideal transformer at one end.
"""

from gridrl.grid import Complexes


def pi_model(
    y_series: Complexes, y_from: Complexes, y_to: Complexes, ratio: Complexes
) -> tuple[Complexes, Complexes, Complexes, Complexes]:
    """``y_ff, y_ft, y_tf, y_tt``, where v_from = ratio * v_inside and ratio = tap e^(j shift).

    All arguments [n] p.u.; a ratio of 1 is a line.
    """
    ratio_squared = (ratio * ratio.conjugate()).real
    return (
        (y_series + y_from) / ratio_squared,
        -y_series / ratio.conjugate(),
        -y_series / ratio,
        y_series + y_to,
    )
